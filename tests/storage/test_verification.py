"""Damaged content is found, moved aside, and served no more."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from connected_registry.errors import BlobDamaged, Unavailable
from connected_registry.oci.digest import Digest
from connected_registry.storage.verification import Item, Verifier
from storage.store import OTHER, REPOSITORY, Store, image

WEEK = timedelta(days=7)
LAYER = b"a layer"


def verifier(store: Store) -> Verifier:
    """Of the store."""
    return Verifier(store.folder, store.database, store.blobs, store.registry, clock=store.clock)


def rot(store: Store, digest: Digest) -> Path:
    """Flip one bit."""
    path = store.blobs.path(digest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def item(content: bytes) -> Item:
    """What should be there."""
    return Item(Digest.of(content), len(content))


def test_whole_content_passes(store: Store) -> None:
    """And is not due again before the cycle is over."""
    store.push_blob(LAYER)
    subject = verifier(store)
    store.clock.pass_by(days=8)
    due = subject.due(WEEK)
    assert due == [item(LAYER)]
    assert subject.check(due[0]) is None
    before = store.clock.now
    subject.passed(due)
    assert subject.due(WEEK) == []
    oldest = subject.oldest()
    assert oldest is not None
    assert oldest > before
    store.clock.pass_by(days=8)
    assert subject.due(WEEK) == due


def test_what_was_verified_in_the_future_is_due(store: Store) -> None:
    """The clock was wrong then, or is now."""
    store.push_blob(LAYER)
    store.clock.pass_by(days=-1000)
    assert verifier(store).due(WEEK) == [item(LAYER)]


@pytest.mark.parametrize("fault", ["content", "size", "missing", "unreadable"])
def test_damage_is_found_and_not_served(store: Store, fault: str) -> None:
    """A flipped bit, a cut file, a lost one, and one that cannot be read."""
    digest = store.push_blob(LAYER)
    path = store.blobs.path(digest)
    match fault:
        case "content":
            rot(store, digest)
        case "size":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "unreadable":
            path.unlink()
            path.symlink_to("/dev/null")
    subject = verifier(store)
    found = subject.check(item(LAYER))
    assert found is not None
    assert (found.digest, found.reason) == (digest, fault)
    assert subject.damaged() == [found]
    store.clock.pass_by(days=6)
    assert subject.due(WEEK) == []
    assert not path.exists()
    with pytest.raises(BlobDamaged):
        store.registry.stat_blob(REPOSITORY, digest)
    aside = store.folder.replica / "quarantine" / f"sha256-{digest.encoded}"
    assert os.path.lexists(aside) == (fault != "missing")


def test_damage_is_forgotten_once_the_content_is_whole_again(store: Store) -> None:
    """A push of the same blob mends it."""
    digest = store.push_blob(LAYER)
    rot(store, digest)
    subject = verifier(store)
    subject.check(item(LAYER))
    store.push_blob(LAYER)
    assert store.registry.stat_blob(REPOSITORY, digest).path.read_bytes() == LAYER
    assert subject.check(item(LAYER)) is None
    subject.passed([item(LAYER)])
    assert subject.damaged() == []


def test_what_took_the_place_of_damage_meanwhile_stays(store: Store) -> None:
    """A push may replace the file while it is read."""
    digest = store.push_blob(LAYER)
    rot(store, digest)

    def replaced(_size: int) -> None:
        store.push_blob(LAYER)

    assert verifier(store).check(item(LAYER), replaced) is None
    assert store.blobs.read(digest) == LAYER


def test_damage_that_nobody_shows_any_more_is_forgotten(store: Store) -> None:
    """Collected meanwhile."""
    digest = store.push_blob(LAYER)
    rot(store, digest)
    subject = verifier(store)
    subject.check(item(LAYER))
    with store.database.write() as session:
        for table in ("blob_link", "blob"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")
    assert subject.damaged() == []
    assert subject.check(item(LAYER)) is None
    assert subject.damaged() == []


def test_a_damaged_manifest_is_not_served_from_memory_either(store: Store) -> None:
    """Memory is dropped when damage is found."""
    each = image(LAYER)
    store.push(each, "v1")
    store.registry.resolve(REPOSITORY, each.digest)
    rot(store, each.digest)
    subject = verifier(store)
    assert subject.check(Item(each.digest, len(each.content))) is not None
    with pytest.raises(Unavailable):
        store.registry.resolve(REPOSITORY, each.digest)
    assert store.registry.take_suspects() == {each.digest}
    assert store.registry.take_suspects() == set()


def test_it_is_known_where_content_is_shown(store: Store) -> None:
    """To ask the parent for it there."""
    each = image(LAYER)
    store.push(each, "v1")
    store.push_blob(LAYER, OTHER)
    subject = verifier(store)
    assert subject.places(each.digest) == (True, [REPOSITORY])
    manifest, repositories = subject.places(Digest.of(LAYER))
    assert not manifest
    assert set(repositories) == {REPOSITORY, OTHER}


def test_pages_bring_everything_once(store: Store) -> None:
    """In order of digest."""
    digests = sorted(store.push_blob(f"{number}".encode()) for number in range(5))
    subject = verifier(store)
    found: list[Item] = []
    while page := subject.page(found[-1].digest if found else "", 2):
        found += page
    assert [each.digest for each in found] == digests
    assert subject.items([digests[3]]) == [found[3]]
