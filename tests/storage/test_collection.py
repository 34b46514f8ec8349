"""Collection removes what nothing keeps, and says why the rest stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from connected_registry.errors import BlobUnknown, ManifestUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.ballast import Ballast
from connected_registry.storage.collected import Collected, Graces, Kept
from connected_registry.storage.collection import LAST, PROGRESS, Collector
from connected_registry.storage.lease import nothing_removed
from connected_registry.storage.ledger import ImageState
from connected_registry.storage.verification import Verifier
from storage.store import OTHER, REPOSITORY, Image, Store, image, index, multi_platform, open_store
from storage.test_scale import scans, statements

LAYER = b"a layer"
V1 = Tag("v1")


def collector(
    store: Store,
    protected: Callable[[], frozenset[str]] = frozenset,
    batch: int = 2,
    ballast: Ballast | None = None,
) -> Collector:
    """A collector with steps so small that every loop goes around."""
    return Collector(
        store.folder,
        store.database,
        store.blobs,
        store.registry,
        store.ledger,
        clock=store.clock,
        protected=protected,
        batch=batch,
        ballast=ballast,
    )


def shown(store: Store, each: Image) -> bool:
    """Whether the image's manifest can be had."""
    try:
        store.registry.resolve(REPOSITORY, each.digest)
    except ManifestUnknown:
        return False
    return True


def files(store: Store) -> set[str]:
    """Digests of what lies in the folder."""
    return {f"{path.parent.name}:{path.name}" for path in store.stored_files()}


def digests(*images: Image) -> set[str]:
    """Of manifests and their blobs."""
    return {
        digest
        for each in images
        for digest in (each.digest, *(Digest.of(blob) for blob in each.blobs))
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with open_store(tmp_path / "data") as opened:
        yield opened


def test_what_is_tagged_stays_with_all_that_belongs_to_it(store: Store) -> None:
    """Blobs, the children of an index, and what refers to any of them."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    signature = image(b"signature", subject=images["linux/arm64"].descriptor())
    for each in (*images.values(), whole, signature):
        store.push(each, *(["v1"] if each is whole else []))
    store.clock.pass_by(days=10)
    done = collector(store).collect()
    assert (done.manifests, done.blobs, done.files) == (0, 0, 0)
    assert files(store) == digests(*images.values(), whole, signature)
    assert store.registry.closure(REPOSITORY, whole.digest).complete
    assert done.kept == {
        Kept.TAGGED: 1,
        Kept.PART: 2,
        Kept.REFERS: 1,
        Kept.NAMED: 4,
        Kept.SHOWN: 8,
    }


def test_what_lost_its_tag_goes_with_everything_that_only_it_kept(store: Store) -> None:
    """The index, its images, what refers to them, their blobs and files; nothing shared."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    signature = image(b"signature", subject=images["linux/arm64"].descriptor())
    other = image(b"layer for linux/amd64", b"own")
    for each in (*images.values(), whole, signature, other):
        store.push(each, *({whole: ["old"], other: ["kept"]}.get(each, [])))
    store.registry.delete_tag(REPOSITORY, Tag("old"))
    store.clock.pass_by(days=10)
    done = collector(store).collect()
    assert done.manifests == 4
    assert files(store) == digests(other)
    assert done.bytes > 0
    assert sum(done.kept[reason] for reason in (Kept.PART, Kept.REFERS)) == 0
    with pytest.raises(BlobUnknown):
        store.registry.stat_blob(REPOSITORY, Digest.of(b"signature"))


def test_a_tag_that_was_let_go_keeps_its_image_for_a_day(store: Store) -> None:
    """Counted from the moment it let go, not from the push."""
    old, new = image(b"old"), image(b"new")
    store.push(old, "v1")
    store.clock.pass_by(days=100)
    store.push(new, "v1")
    store.clock.pass_by(hours=23)
    assert collector(store).collect().kept[Kept.RECENT] == 1
    assert shown(store, old)
    store.clock.pass_by(hours=2)
    assert collector(store).collect().manifests == 1
    assert not shown(store, old)


def test_children_of_a_deleted_index_stay_for_a_day_too(store: Store) -> None:
    """They were in use until then."""
    whole, images = multi_platform(["linux/amd64"])
    child = images["linux/amd64"]
    store.push(child)
    store.push(whole, "v1")
    store.clock.pass_by(days=100)
    store.registry.delete_manifest(REPOSITORY, whole.digest)
    store.clock.pass_by(hours=23)
    collector(store).collect()
    assert shown(store, child)
    store.clock.pass_by(hours=2)
    collector(store).collect()
    assert not shown(store, child)


def test_what_is_pulled_by_digest_stays(store: Store) -> None:
    """Untagged images that devices still pull are no garbage."""
    each = image(LAYER)
    store.push(each)
    store.clock.pass_by(days=100)
    store.registry.resolve(REPOSITORY, each.digest)
    assert collector(store).collect().kept[Kept.IN_USE] == 1
    assert shown(store, each)


def test_a_push_under_way_keeps_its_blobs(store: Store) -> None:
    """Fresh ones for an hour, and old ones that the push found here and did not send again."""
    found = store.push_blob(b"found here")
    store.clock.pass_by(days=1)
    fresh = store.push_blob(b"fresh")
    store.registry.stat_blob(REPOSITORY, found)
    store.clock.pass_by(minutes=50)
    assert collector(store).collect().blobs == 0
    assert files(store) == {found, fresh}
    store.clock.pass_by(hours=3)
    assert collector(store).collect().blobs == 2
    assert files(store) == set()


def test_a_blob_stays_where_it_is_named_and_goes_where_it_is_not(store: Store) -> None:
    """Other repositories do not matter, the file stays."""
    each = image(LAYER)
    store.push(each, "v1")
    store.push_blob(LAYER, OTHER)
    store.clock.pass_by(days=1)
    done = collector(store).collect()
    assert (done.blobs, done.files) == (1, 0)
    assert store.registry.stat_blob(REPOSITORY, Digest.of(LAYER)).path.read_bytes() == LAYER
    with pytest.raises(BlobUnknown):
        store.registry.stat_blob(OTHER, Digest.of(LAYER))


def test_what_waits_to_go_up_stays(store: Store) -> None:
    """Whoever queues pushes names what must stay."""
    each = image(LAYER)
    store.push(each)
    store.clock.pass_by(days=100)
    done = collector(store, lambda: frozenset(digests(each))).collect()
    assert done.kept[Kept.OUTGOING] == 1
    assert shown(store, each)


def test_files_of_an_image_that_is_still_fetched_stay(store: Store) -> None:
    """Found from the documents that the plan kept, however long it takes."""
    whole, images = multi_platform(["linux/amd64"])
    child = images["linux/amd64"]
    for content in (whole.content, child.content, *child.blobs):
        store.blobs.put(content)
    stray = store.blobs.put(b"stray")
    begun = Digest.of(b"half a layer")
    with store.blobs.partial(begun, 12) as partial:
        partial.write(b"half")
    state = ImageState(REPOSITORY, V1, wanted=whole.digest, held=None, state="pending")
    store.ledger.record_image(state, store.clock())
    store.clock.pass_by(days=100)
    done = collector(store).collect()
    assert files(store) == digests(whole, child)
    assert stray not in files(store)
    assert done.kept[Kept.WANTED] == 4
    assert store.blobs.partial_size(begun) == 0


def test_files_without_a_row_stay_longer_while_images_are_to_come(store: Store) -> None:
    """Referrers of an image are not known from its manifest."""
    store.blobs.put(b"stray")
    state = ImageState(REPOSITORY, V1, wanted=Digest.of(b"?"), held=None, state="failed")
    store.ledger.record_image(state, store.clock())
    store.clock.pass_by(days=5)
    assert collector(store).collect().kept[Kept.RECENT] == 1
    store.ledger.forget_image(REPOSITORY, V1)
    assert collector(store).collect().files == 1


def test_a_file_somebody_just_found_stays(store: Store) -> None:
    """A sync that found it will not fetch it."""
    digest = store.blobs.put(b"found")
    store.clock.pass_by(days=100)
    assert store.registry.holds([digest]) == {digest}
    assert collector(store).collect().kept[Kept.IN_USE] == 1
    assert files(store) == {digest}


def test_foreign_names_in_the_folder_are_left_alone(store: Store) -> None:
    """What we did not put there we do not remove."""
    (store.folder.blobs / "sha256" / "README").write_text("mine")
    store.clock.pass_by(days=100)
    assert collector(store).collect().files == 0
    assert (store.folder.blobs / "sha256" / "README").exists()


def test_a_dry_run_says_what_would_go_and_removes_nothing(store: Store) -> None:
    """To the byte what the real run does, what goes in consequence included."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    signature = image(b"signature", subject=whole.descriptor())
    for each in (*images.values(), whole, signature):
        store.push(each)
    store.push(image(LAYER), "kept")
    store.push_blob(b"alone")
    store.blobs.put(b"stray")
    before = files(store)
    store.clock.pass_by(days=100)
    dry = collector(store).collect(dry_run=True)
    assert files(store) == before
    assert store.ledger.get(LAST) is None
    real = collector(store).collect()
    assert (dry.manifests, dry.blobs, dry.files, dry.bytes) == (4, 4, 9, real.bytes)
    assert (real.manifests, real.blobs, real.files) == (4, 4, 9)
    assert {**dry.kept} == {**real.kept}
    assert store.ledger.get(LAST)["bytes"] == real.bytes


def test_a_collection_that_was_cut_goes_on_where_it_was(store: Store) -> None:
    """The counts go on too, and the end forgets the progress."""
    for number in range(120):
        store.push_blob(f"blob {number}".encode())
    store.clock.pass_by(days=1)
    cut = collector(store).steps()
    for _ in range(40):
        done = next(cut)
    cut.close()
    assert store.ledger.get(PROGRESS)["done"]["blobs"] == 50
    assert done.blobs == 80
    again = collector(store).collect()
    assert store.ledger.get(PROGRESS) is None
    assert again.blobs == 50 + 40
    assert again.files == 120
    assert files(store) == set()


def test_no_step_looks_at_more_than_a_batch(store: Store) -> None:
    """So that pushes wait for no more than that, and pulls for nothing."""
    for number in range(20):
        store.push_blob(f"blob {number}".encode())
    store.clock.pass_by(days=1)
    before = 0
    for done in collector(store, batch=3).steps():
        assert done.blobs - before <= 3
        before = done.blobs
    assert before == 20


def test_nothing_is_removed_while_a_backup_copies(store: Store) -> None:
    """Rows of content stay with their files; the next collection has them."""
    store.push_blob(b"alone")
    store.clock.pass_by(days=1)
    with nothing_removed(store.folder.path):
        assert collector(store).collect().files == 0
    assert len(files(store)) == 1
    assert collector(store).collect().files == 1


def test_a_stream_of_a_removed_file_goes_on(store: Store) -> None:
    """Whoever has it open has it whole."""
    digest = store.push_blob(LAYER)
    path = store.registry.stat_blob(REPOSITORY, digest).path
    store.clock.pass_by(days=1)
    with path.open("rb") as stream:
        assert collector(store).collect().files == 1
        assert not path.exists()
        assert stream.read() == LAYER


def test_the_memory_forgets_what_went(store: Store) -> None:
    """A cached answer would promise what is gone."""
    each = image(LAYER)
    store.push(each)
    store.registry.resolve(REPOSITORY, each.digest)
    store.registry.stat_blob(REPOSITORY, Digest.of(LAYER))
    store.clock.pass_by(days=2)
    collector(store).collect()
    assert store.registry.cached(REPOSITORY, each.digest) is None
    assert store.registry.cached_blob(REPOSITORY, Digest.of(LAYER)) is None


def test_removed_tags_take_their_image_along_at_once(store: Store) -> None:
    """What another tag keeps stays."""
    shared, alone = image(b"shared"), image(b"alone")
    store.push(shared, "v1", "v2")
    store.push(alone, "v3")
    store.clock.pass_by(hours=3)
    store.registry.resolve(REPOSITORY, alone.digest)
    done = collector(store).remove_tags(REPOSITORY, ["v1", "v3"])
    assert (done.manifests, store.registry.list_tags(REPOSITORY).items) == (1, ("v2",))
    assert not shown(store, alone)
    assert files(store) == {*digests(shared), alone.digest}
    store.clock.pass_by(hours=3)
    collector(store).collect()
    assert files(store) == digests(shared)


def test_untagged_images_of_a_repository_can_be_removed_at_once(store: Store) -> None:
    """Only of that one, and tagged ones stay."""
    kept, gone = image(b"kept"), image(b"gone")
    store.push(kept, "v1")
    store.push(gone)
    store.push(gone, repository=OTHER)
    done = collector(store).remove_untagged(REPOSITORY)
    assert (done.manifests, done.blobs) == (1, 1)
    assert shown(store, kept)
    assert store.registry.resolve(OTHER, gone.digest).content == gone.content


def test_times_in_the_future_keep(store: Store) -> None:
    """A clock that was wrong, or is, removes nothing that it should not."""
    each = image(LAYER)
    store.push(each)
    store.clock.pass_by(days=-365 * 20)
    collector(store, batch=100).collect()
    assert shown(store, each)


def test_a_file_is_removed_after_its_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut between the two leaves a file, and the next collection finds it."""
    digest = store.push_blob(LAYER)
    store.clock.pass_by(days=100)

    def cut(_digest: Digest) -> bool:
        with store.database.read() as session:
            rows = session.connection().exec_driver_sql("SELECT digest FROM blob").all()
        assert rows == []
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.blobs, "remove_unused", cut)
        with pytest.raises(KeyboardInterrupt):
            collector(store).collect()
    assert files(store) == {digest}
    os.utime(store.blobs.path(digest), (0, 0))
    assert collector(store).collect().files == 1


def test_graces_can_be_shorter(store: Store) -> None:
    """When space is needed."""
    store.push_blob(LAYER)
    store.clock.pass_by(hours=3)
    zero = timedelta(0)
    graces = Graces(zero, zero, zero, zero)
    assert collector(store).collect(graces=graces).files == 1


def test_what_is_kept_can_be_read_back() -> None:
    """A cut collection goes on with the counts it had."""
    done = Collected(manifests=1, blobs=2, files=3, bytes=4)
    done.kept[Kept.TAGGED] += 5
    assert Collected.from_json(done.to_json()).to_json() == done.to_json()


def test_an_index_pulled_apart_keeps_what_other_indexes_name(store: Store) -> None:
    """A child goes with the last index that names it."""
    child, own = image(b"child"), image(b"own")
    for each in (child, own):
        store.push(each)
    first, second = index(child.descriptor(), own.descriptor()), index(child.descriptor())
    store.push(first, "first")
    store.push(second, "second")
    store.clock.pass_by(hours=3)
    collector(store).remove_tags(REPOSITORY, ["first"])
    assert shown(store, child)
    assert not shown(store, own)
    collector(store).remove_tags(REPOSITORY, ["second"])
    assert not shown(store, child)


def test_no_step_reads_a_whole_table_or_all_of_a_repository(store: Store) -> None:
    """Every question goes by an index with all its columns, for as many rows as are looked at."""
    whole, images = multi_platform(["linux/amd64"])
    for each in (*images.values(), whole, image(b"sig", subject=whole.descriptor())):
        store.push(each, *(["v1"] if each is whole else []))
    store.push(image(b"gone"))
    store.push_blob(b"alone")
    store.clock.pass_by(days=3)
    subject = collector(store, batch=200)
    verifier = Verifier(
        store.folder, store.database, store.blobs, store.registry, clock=store.clock
    )
    with statements() as executed:
        subject.collect(dry_run=True)
        subject.collect()
        subject.remove_tags(REPOSITORY, ["v1"])
        verifier.due(timedelta(days=1))
        verifier.due(timedelta(days=1000))
        verifier.page()
        verifier.oldest()
    assert (
        scans(store.database, [each for each in executed if " IN (SELECT 1" not in each[0]]) == []
    )
    with store.database.read() as session:
        connection = session.connection()
        for statement, parameters in executed:
            values = parameters[0] if isinstance(parameters, list) else parameters
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            for row in plan:
                assert not row[3].endswith("(repository_id=?)"), f"{row[3]} in {statement}"
