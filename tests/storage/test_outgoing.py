"""The queue towards the parent: one with what clients are told, and ordered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.content import ImageCommit
from connected_registry.storage.outgoing import Entry, Kind, Outcome, Outgoing, pinned
from connected_registry.storage.registry import Registry
from storage.store import REPOSITORY, Store, image, open_store

TTL = timedelta(days=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An open folder."""
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def queue(store: Store) -> Outgoing:
    """Its queue, which records."""
    return with_queue(store)


def with_queue(store: Store) -> Outgoing:
    """Let the store's registry note changes."""
    outgoing = Outgoing(store.database, clock=store.clock)
    outgoing.recording = True
    store.registry = Registry(
        store.folder, store.database, store.blobs, clock=store.clock, outgoing=outgoing
    )
    return outgoing


def changes(queue: Outgoing) -> list[tuple[str, str | None, Digest]]:
    """What waits, in order."""
    return [(each.kind.value, each.tag, each.digest) for each in queue.page().items]


def first(queue: Outgoing) -> Entry:
    """The entry whose turn is next."""
    return queue.page().items[0]


def test_changes_are_noted_in_order(store: Store, queue: Outgoing) -> None:
    """Pushes by tag, a tag taken away, and a deletion with the tags that went with it."""
    one, two = store.push(image(b"1"), "a", "b"), store.push(image(b"2"), "a")
    store.registry.delete_tag(REPOSITORY, Tag("a"), upward=True)
    store.registry.delete_manifest(REPOSITORY, one, upward=True)
    assert changes(queue) == [
        ("push", "a", one),
        ("push", "b", one),
        ("push", "a", two),
        ("untag", "a", two),
        ("delete", None, one),
        ("untag", "b", one),
    ]


def test_nothing_is_noted_while_not_recording(store: Store, queue: Outgoing) -> None:
    """Nor what a sync or a purge does."""
    queue.recording = False
    store.push(image(b"1"), "a")
    queue.recording = True
    store.blobs.put(b"1")
    store.registry.commit_image(image(b"1").commit("b"))
    store.registry.delete_tag(REPOSITORY, Tag("b"))
    assert changes(queue) == []


@pytest.mark.parametrize("step", ["commit", "committed"])
def test_a_cut_leaves_the_push_and_its_entry_or_neither(tmp_path: Path, step: str) -> None:
    """They are one transaction."""
    cut = {"on": False}

    def checkpoint(at: str) -> None:
        if cut["on"] and at == step:
            raise KeyboardInterrupt

    made = image(b"1")
    with open_store(tmp_path, checkpoint=checkpoint) as store:
        with_queue(store)
        for blob in made.blobs:
            store.push_blob(blob)
        cut["on"] = True
        with pytest.raises(KeyboardInterrupt):
            store.registry.put_manifest(REPOSITORY, Tag("a"), made.media_type, made.content)
        cut["on"] = False
    with open_store(tmp_path) as store:
        queue = with_queue(store)
        shown = store.registry.list_tags(REPOSITORY).items == ("a",)
        assert shown == (step == "committed")
        assert len(queue) == int(shown)


def test_a_sync_leaves_waiting_tags_alone(store: Store, queue: Outgoing) -> None:
    """A commit moves other tags only, and a withdrawal is refused."""
    mine = store.push(image(b"mine"), "a")
    theirs = image(b"theirs")
    for blob in theirs.blobs:
        store.blobs.put(blob)
    store.registry.commit_image(theirs.commit("a", "b"))
    assert store.registry.resolve(REPOSITORY, Tag("a")).digest == mine
    assert store.registry.resolve(REPOSITORY, Tag("b")).digest == theirs.digest
    assert not store.registry.withdraw_tag(REPOSITORY, Tag("a"), mine)
    assert store.registry.withdraw_tag(REPOSITORY, Tag("b"), theirs.digest)
    assert queue.tags(REPOSITORY) == {"a"}


def test_what_the_parent_was_last_seen_to_have_follows_the_queue(
    store: Store, queue: Outgoing
) -> None:
    """First what the sync brought, then what went up; forgotten with the last entry."""
    old = image(b"old")
    for blob in old.blobs:
        store.blobs.put(blob)
    commit = old.commit("a")
    store.registry.commit_image(
        ImageCommit(commit.repository, commit.tags, commit.root, commit.manifests, commit.blobs)
    )
    one = store.push(image(b"1"), "a")
    store.push(image(b"2"), "a")
    assert queue.seen(REPOSITORY, Tag("a")) == old.digest
    queue.finish(first(queue), Outcome.ARRIVED)
    assert queue.seen(REPOSITORY, Tag("a")) == one
    queue.finish(first(queue), Outcome.ARRIVED)
    assert queue.seen(REPOSITORY, Tag("a")) is None
    assert store.registry.tag_details(REPOSITORY).items[0].origin == "parent"


@pytest.mark.parametrize(
    ("outcome", "origin"),
    [(Outcome.ARRIVED, "parent"), (Outcome.LOST, "parent"), (Outcome.APART, "local")],
)
def test_a_tag_follows_what_came_of_its_last_change(
    store: Store, queue: Outgoing, outcome: Outcome, origin: str
) -> None:
    """Only what the parent confirmed has a date."""
    store.push(image(b"1"), "a")
    queue.finish(first(queue), outcome)
    [details] = store.registry.tag_details(REPOSITORY).items
    assert details.origin == origin
    assert (details.confirmed_at is not None) == (outcome is Outcome.ARRIVED)


def test_a_failed_entry_stays_and_is_counted(store: Store, queue: Outgoing) -> None:
    """With reason and number of attempts; waiting too long counts as failed too."""
    store.push(image(b"1"), "a")
    store.push(image(b"2"), "b")
    queue.fail(first(queue), "unauthorized", "no")
    figures = queue.figures(TTL)
    assert (figures.waiting, figures.failed) == (1, 1)
    entry = first(queue)
    assert (entry.attempts, entry.reason, entry.detail) == (1, "unauthorized", "no")
    store.clock.now += timedelta(days=3)
    assert queue.figures(TTL).failed == 2


def test_pages_and_pins(store: Store, queue: Outgoing) -> None:
    """Every entry comes once, and what waits to be pushed is named to the collector."""
    digests = [store.push(image(b"%d" % n), f"t{n}") for n in range(5)]
    after, seen = 0, []
    while True:
        page = queue.page(after, 2)
        seen += [each.digest for each in page.items]
        if page.next is None:
            break
        after = int(page.next)
    assert seen == digests
    with store.database.read() as session:
        assert {digest for _, digest in pinned(session)} == set(digests)
    assert first(queue).kind is Kind.PUSH
