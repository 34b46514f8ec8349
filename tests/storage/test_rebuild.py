"""A lost database is made anew from the image layout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connected_registry.errors import FolderInUse, ManifestUnknown, StorageError
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.rebuild import is_sound, rebuild
from connected_registry.storage.verification import Verifier
from storage.store import OTHER, REPOSITORY, Image, Store, image, index, multi_platform, open_store


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def lose(path: Path) -> None:
    """Overwrite the database with nothing of use."""
    database = path / "replica" / "registry.db"
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    database.write_bytes(b"not a database" * 1000)


def fill(store: Store) -> tuple[Image, Image, Image]:
    """An index, a signature of it and a plain image, in two repositories."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    for each in (*images.values(), whole):
        store.push(each, *(["v1", "latest"] if each is whole else []))
    signature = image(b"signature", subject=whole.descriptor())
    store.push(signature)
    plain = image(b"plain")
    store.push(plain, "v1", repository=OTHER)
    store.layout.write()
    return whole, signature, plain


def test_everything_that_was_shown_is_shown_again(tmp_path: Path) -> None:
    """Tags, indexes with their images, referrers, blobs, in each repository."""
    with open_store(tmp_path / "data") as store:
        whole, signature, plain = fill(store)
        totals = store.registry.statistics()
    assert is_sound(tmp_path / "data/replica/registry.db") is None
    lose(tmp_path / "data")
    assert is_sound(tmp_path / "data/replica/registry.db") is not None
    done = rebuild(tmp_path / "data", clock=now)
    assert (len(done.repositories), done.tags, done.manifests, done.lost) == (2, 3, 5, [])
    assert done.old is not None
    assert (Path(done.old) / "registry.db").read_bytes().startswith(b"not a database")
    with open_store(tmp_path / "data") as store:
        again = store.registry.statistics()
        assert (again.tags, again.manifests, again.blobs) == (
            totals.tags,
            totals.manifests,
            totals.blobs,
        )
        assert store.registry.resolve(REPOSITORY, Tag("latest")).digest == whole.digest
        assert store.registry.closure(REPOSITORY, whole.digest).complete
        referrers = store.registry.list_referrers(REPOSITORY, whole.digest)
        assert [each["digest"] for each in referrers] == [signature.digest]
        assert store.registry.resolve(OTHER, Tag("v1")).content == plain.content


def test_rebuilt_content_is_verified_first(tmp_path: Path) -> None:
    """Its sizes were looked at, its bytes were not."""
    with open_store(tmp_path / "data") as store:
        fill(store)
    lose(tmp_path / "data")
    rebuild(tmp_path / "data", clock=now)
    with open_store(tmp_path / "data") as store:
        verifier = Verifier(store.folder, store.database, store.blobs, store.registry, clock=now)
        assert len(verifier.due(timedelta(days=7))) == store.registry.statistics().blobs + 5


def test_what_is_not_whole_is_named_and_not_shown(tmp_path: Path) -> None:
    """The sync brings it again."""
    with open_store(tmp_path / "data") as store:
        fill(store)
        store.blobs.remove(Digest.of(b"plain"))
    lose(tmp_path / "data")
    done = rebuild(tmp_path / "data", clock=now)
    assert len(done.lost) == 1
    assert done.lost[0].startswith(f"{OTHER}:v1: ")
    with open_store(tmp_path / "data") as store:
        assert set(store.registry.list_tags(REPOSITORY).items) == {"v1", "latest"}
        with pytest.raises(ManifestUnknown):
            store.registry.resolve(OTHER, Tag("v1"))


def test_platforms_that_were_never_here_are_no_loss(tmp_path: Path) -> None:
    """A sparse index stays one."""
    here = image(b"here")
    sparse = index(here.descriptor(), image(b"elsewhere").descriptor())
    with open_store(tmp_path / "data") as store:
        store.push(here)
        store.push(sparse, "v1")
        store.layout.write()
    (tmp_path / "data/replica/registry.db").unlink()
    done = rebuild(tmp_path / "data", clock=now)
    assert (done.lost, done.manifests) == ([], 2)


def test_no_rebuild_while_a_replica_runs_or_without_a_layout(store: Store, tmp_path: Path) -> None:
    """Nothing is touched then."""
    with pytest.raises(FolderInUse):
        rebuild(store.folder.path, clock=now)
    with open_store(tmp_path / "other") as other:
        other.push(image(b"x"), "v1")
    (tmp_path / "other" / "index.json").write_text("damaged")
    with pytest.raises(StorageError, match="restore a backup"):
        rebuild(tmp_path / "other", clock=now)
    assert is_sound(tmp_path / "other/replica/registry.db") is None
