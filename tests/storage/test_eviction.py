"""Images that nobody pulls go first, and only such as can be had again."""

from __future__ import annotations

from connected_registry.errors import NameUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.collection import Collector
from connected_registry.storage.eviction import Evictor
from connected_registry.storage.pulls import Pulls
from storage.store import REPOSITORY, Image, Store, image

PLENTY = 10**9


def evictor(store: Store) -> Evictor:
    """Of the store."""
    collector = Collector(
        store.folder, store.database, store.blobs, store.registry, store.ledger, clock=store.clock
    )
    return Evictor(store.database, collector, store.ledger, clock=store.clock)


def sync(store: Store, each: Image, tag: str) -> None:
    """Bring an image as the sync does."""
    for blob in each.blobs:
        store.blobs.put(blob)
    store.registry.commit_image(each.commit(tag))


def tags(store: Store) -> set[str]:
    """What is left."""
    try:
        return set(store.registry.list_tags(REPOSITORY).items)
    except NameUnknown:
        return set()


def test_the_image_pulled_longest_ago_goes_first(store: Store) -> None:
    """Pulled by tag or by digest, written down in between; the bytes are free at once."""
    images = {name: image(name.encode() * 100) for name in ("a", "b", "c")}
    for name, each in images.items():
        sync(store, each, name)
    store.clock.pass_by(days=2)
    pulls = Pulls(store.database, clock=store.clock)
    pulls.note(REPOSITORY, Tag("a"))
    pulls.write()
    store.clock.pass_by(hours=2)
    pulls.note(REPOSITORY, images["c"].digest)
    assert pulls.write() == 1
    store.clock.pass_by(days=2)
    before = store.registry.statistics().bytes
    gone = list(evictor(store).evict(1))
    assert [each.tag for each in gone] == ["b"]
    assert gone[0].bytes == before - store.registry.statistics().bytes > 100
    assert [each.tag for each in evictor(store).evict(PLENTY)] == ["a", "c"]


def test_what_was_pushed_here_is_never_given_up(store: Store) -> None:
    """Nobody else may have it."""
    store.push(image(b"pushed"), "mine")
    store.clock.pass_by(days=100)
    assert list(evictor(store).evict(PLENTY)) == []
    assert tags(store) == {"mine"}


def test_what_was_just_fetched_or_pulled_stays(store: Store) -> None:
    """Else two images would drive each other out for ever."""
    sync(store, image(b"fresh"), "fresh")
    store.clock.pass_by(hours=23)
    assert list(evictor(store).evict(PLENTY)) == []


def test_spared_images_stay_and_more_than_a_page_can_go(store: Store) -> None:
    """One that is being fetched for another digest is not driven out by itself."""
    for number in range(60):
        sync(store, image(f"{number}".encode()), f"t{number:02}")
    store.clock.pass_by(days=2)
    gone = list(evictor(store).evict(PLENTY, [f"{REPOSITORY}:t00"]))
    assert len(gone) == 59
    assert tags(store) == {"t00"}


def test_it_is_remembered_what_was_given_up(store: Store) -> None:
    """Until it is back."""
    sync(store, image(b"old"), "old")
    store.clock.pass_by(days=2)
    subject = evictor(store)
    list(subject.evict(1))
    name = f"{REPOSITORY}:old"
    assert subject.was_evicted(name)
    assert not subject.was_evicted(f"{REPOSITORY}:other")
    subject.returned(name)
    assert not subject.was_evicted(name)


def test_pulls_of_what_is_gone_are_no_error(store: Store) -> None:
    """Deleted between the pull and the writing."""
    pulls = Pulls(store.database, clock=store.clock)
    pulls.note(REPOSITORY, Tag("gone"))
    pulls.note(RepositoryName("nowhere"), image(b"x").digest)
    assert pulls.write() == 0


def test_pulls_are_not_written_each_time(store: Store) -> None:
    """Flash wears out: once an hour is enough."""
    sync(store, image(b"x"), "v1")
    store.clock.pass_by(days=1)
    pulls = Pulls(store.database, clock=store.clock)
    pulls.note(REPOSITORY, Tag("v1"))
    assert pulls.write() == 1
    store.clock.pass_by(minutes=50)
    pulls.note(REPOSITORY, Tag("v1"))
    assert pulls.write() == 0
    store.clock.pass_by(minutes=20)
    pulls.note(REPOSITORY, Tag("v1"))
    assert pulls.write() == 1


def test_giving_up_ends_when_nothing_comes_free(store: Store) -> None:
    """As where every file is wanted by somebody: not everything goes for nothing."""
    for number in range(20):
        each = image(f"{number}".encode())
        sync(store, each, f"t{number:02}")
    store.clock.pass_by(days=2)
    for path in store.stored_files():
        store.blobs.attention.note(Digest(f"sha256:{path.name}"))
    assert len(list(evictor(store).evict(PLENTY))) == 5
