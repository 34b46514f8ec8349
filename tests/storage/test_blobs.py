"""Content-addressed files and the downloads that become them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connected_registry.errors import (
    BlobUnknown,
    DigestInvalid,
    SizeInvalid,
    StorageError,
)
from connected_registry.oci.digest import Digest
from storage.store import Store, open_store

CONTENT = b"0123456789" * 100
DIGEST = Digest.of(CONTENT)


def leftovers(store: Store) -> list[str]:
    """Names in the staging folder."""
    return sorted(path.name for path in store.folder.partials.iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"{}", CONTENT])
def test_what_is_put_can_be_read(store: Store, content: bytes, algorithm: str) -> None:
    """At the path that an image layout gives it, of either algorithm, also nothing at all."""
    digest = store.blobs.put(content, algorithm)
    assert digest == Digest.of(content, algorithm)
    assert store.blobs.path(digest) == store.folder.path / "blobs" / algorithm / digest.encoded
    assert store.blobs.size(digest) == len(content)
    assert store.blobs.read(digest) == content
    assert leftovers(store) == []


def test_what_is_not_there_is_told(store: Store) -> None:
    """No size, and reading it is an error a client understands."""
    assert store.blobs.size(DIGEST) is None
    with pytest.raises(BlobUnknown):
        store.blobs.read(DIGEST)


def test_putting_again_heals_what_the_disk_changed(store: Store) -> None:
    """Right length, wrong bytes: replaced by the right ones."""
    store.blobs.put(CONTENT)
    store.blobs.path(DIGEST).write_bytes(CONTENT[::-1])
    store.blobs.put(CONTENT)
    assert store.blobs.read(DIGEST) == CONTENT


def test_a_folder_or_link_in_place_of_a_blob_is_no_blob(store: Store, tmp_path: Path) -> None:
    """Only regular files count, and links are not followed."""
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    store.blobs.path(DIGEST).symlink_to(tmp_path / "elsewhere")
    assert store.blobs.size(DIGEST) is None
    with pytest.raises(StorageError):
        store.blobs.read(DIGEST)


def test_removing_twice_is_no_error(store: Store) -> None:
    """The file is gone after the first time."""
    store.blobs.put(CONTENT)
    store.blobs.remove(DIGEST)
    store.blobs.remove(DIGEST)
    assert store.blobs.size(DIGEST) is None


def test_a_download_appears_only_when_finished(store: Store) -> None:
    """Not while it is written, not before it is verified."""
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        partial.write(CONTENT)
        assert store.blobs.size(DIGEST) is None
        partial.finish()
    assert store.blobs.read(DIGEST) == CONTENT
    assert leftovers(store) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, len(CONTENT)), max_size=5).map(sorted))
def test_a_download_goes_on_where_it_was_cut(cuts: list[int]) -> None:
    """However often it is cut, each byte is asked for once."""
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        for cut in cuts:
            with (
                open_store(Path(root) / "data") as store,
                store.blobs.partial(DIGEST, len(CONTENT)) as partial,
            ):
                partial.write(CONTENT[partial.offset : cut])
                assert partial.offset == max(cut, partial.offset)
        with open_store(Path(root) / "data") as store:
            assert store.blobs.partial_size(DIGEST) == (cuts[-1] if cuts else 0)
            with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
                assert partial.offset == (cuts[-1] if cuts else 0)
                partial.write(CONTENT[partial.offset :])
                partial.finish()
            assert store.blobs.read(DIGEST) == CONTENT


def test_a_sha512_download_is_verified_by_sha512(store: Store) -> None:
    """The digest's own algorithm counts."""
    digest = Digest.of(CONTENT, "sha512")
    with store.blobs.partial(digest, len(CONTENT)) as partial:
        partial.write(CONTENT)
        partial.finish()
    assert store.blobs.read(digest) == CONTENT


def test_wrong_content_is_dropped(store: Store) -> None:
    """A parent that lies leaves nothing, and the next try begins at nothing."""
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        partial.write(CONTENT[::-1])
        with pytest.raises(DigestInvalid, match=DIGEST):
            partial.finish()
    assert leftovers(store) == []
    assert store.stored_files() == []
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        assert partial.offset == 0


def test_too_much_is_refused_at_once(store: Store) -> None:
    """The chunk that goes over the promised size is not stored; what was there counts."""
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        partial.write(CONTENT[:-1])
        with pytest.raises(SizeInvalid, match="1000"):
            partial.write(b"99")
        assert partial.offset == len(CONTENT) - 1
        partial.write(CONTENT[-1:])
        partial.finish()


def test_too_little_cannot_be_finished_and_is_kept(store: Store) -> None:
    """A cut is not a lie: the bytes wait for the rest."""
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        partial.write(CONTENT[:10])
        with pytest.raises(SizeInvalid):
            partial.finish()
    assert store.blobs.partial_size(DIGEST) == 10


def test_leftovers_longer_than_promised_are_dropped(store: Store) -> None:
    """They cannot be a beginning of the content."""
    (store.folder.partials / f"sha256-{DIGEST.encoded}").write_bytes(CONTENT + b"!")
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        assert partial.offset == 0


def test_one_download_of_a_digest_at_a_time(store: Store) -> None:
    """The second is refused until the first has ended, in whatever way."""
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        with pytest.raises(StorageError, match="being fetched already"):
            store.blobs.partial(DIGEST, len(CONTENT))
        partial.discard()
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        partial.write(CONTENT)
        partial.finish()
    store.blobs.partial(DIGEST, len(CONTENT)).discard()


def test_an_ended_download_takes_nothing_more(store: Store) -> None:
    """Its file is the blob now; writing on would change it."""
    with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
        partial.write(CONTENT)
        partial.finish()
        with pytest.raises(StorageError, match="is over"):
            partial.write(b"")
    assert store.blobs.read(DIGEST) == CONTENT


def test_the_empty_blob_can_be_downloaded(store: Store) -> None:
    """Zero bytes are content too."""
    with store.blobs.partial(Digest.of(b""), 0) as partial:
        partial.finish()
    assert store.blobs.size(Digest.of(b"")) == 0


def test_recovery_keeps_downloads_and_drops_staged_files(tmp_path: Path) -> None:
    """What can be gone on with stays; what cannot goes."""
    with open_store(tmp_path / "data") as store:
        with store.blobs.partial(DIGEST, len(CONTENT)) as partial:
            partial.write(CONTENT[:10])
        (store.folder.partials / "put-abc").write_bytes(b"half")
    with open_store(tmp_path / "data") as store:
        assert leftovers(store) == [f"sha256-{DIGEST.encoded}"]
