from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connected_registry.storage.database import Database
from connected_registry.storage.outbox import Outbox, StoredEvent

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new database."""
    with Database(tmp_path / "registry.db") as database:
        yield database


def event(number: int, body: str = "{}") -> StoredEvent:
    """An event with a readable id."""
    return StoredEvent(f"id-{number}", "usage", "information", body, NOW)


def ids(outbox: Outbox) -> list[str]:
    """The ids that wait, oldest first."""
    return [waiting.id for waiting in outbox.peek(1000)]


def test_events_come_back_as_they_went_in(database: Database) -> None:
    """In the order of appending, with every value."""
    outbox = Outbox(database)
    kept = [event(n, f'{{"n": {n}, "é": 1}}') for n in range(3)]
    for each in kept:
        outbox.append(each)

    assert outbox.peek(10) == kept
    assert outbox.peek(2) == kept[:2]
    assert len(outbox) == 3


def test_events_survive_a_restart(tmp_path: Path) -> None:
    """With their number, bytes and what was dropped."""
    with Database(tmp_path / "registry.db") as database:
        outbox = Outbox(database, max_events=2)
        for n in range(3):
            outbox.append(event(n))
    with Database(tmp_path / "registry.db") as database:
        outbox = Outbox(database, max_events=2)
        assert (ids(outbox), len(outbox), outbox.dropped) == (["id-1", "id-2"], 2, 1)
        outbox.append(event(3))
        assert (ids(outbox), outbox.dropped) == (["id-2", "id-3"], 2)


def test_removed_events_are_gone_and_unknown_ids_are_fine(database: Database) -> None:
    """What the hub has is not sent again."""
    outbox = Outbox(database)
    for n in range(1200):
        outbox.append(event(n))
    outbox.remove([f"id-{n}" for n in range(5, 1200)] + ["unknown"])

    assert ids(outbox) == [f"id-{n}" for n in range(5)]
    assert len(outbox) == 5


def test_the_oldest_make_room_by_bytes(database: Database) -> None:
    """Bytes of bodies are bounded too, and never the newest event is the one to go."""
    outbox = Outbox(database, max_bytes=100)
    outbox.append(event(1, "x" * 60))
    outbox.append(event(2, "x" * 30))
    outbox.append(event(3, "x" * 50))
    assert (ids(outbox), outbox.dropped) == (["id-2", "id-3"], 1)
    outbox.append(event(4, "x" * 500))

    assert (ids(outbox), outbox.dropped) == (["id-4"], 3)


def test_an_id_is_kept_once(database: Database) -> None:
    """Appending again, after a doubtful failure, changes nothing."""
    outbox = Outbox(database)
    outbox.append(event(1, "first"))
    outbox.append(event(1, "second"))

    assert [each.body for each in outbox.peek(10)] == ["first"]
    assert len(outbox) == 1


def test_threads_may_use_it_at_once(database: Database) -> None:
    """No event is lost or counted twice."""
    outbox = Outbox(database)

    def work(start: int) -> None:
        for n in range(start, start + 50):
            outbox.append(event(n))
            outbox.peek(5)

    threads = [threading.Thread(target=work, args=(100 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outbox) == len(set(ids(outbox))) == 200


class Queue(RuleBasedStateMachine):
    """The outbox beside a list that does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "registry.db"
        self.model: list[StoredEvent] = []
        self.dropped = 0
        self.number = 0
        self.open()

    def open(self) -> None:
        """Open the database."""
        self.database = Database(self.path)
        self.outbox = Outbox(self.database, max_events=4, max_bytes=40)

    @rule(size=st.integers(0, 25))
    def append(self, size: int) -> None:
        """One more event."""
        self.number += 1
        added = event(self.number, "x" * size)
        self.outbox.append(added)
        self.model.append(added)
        while len(self.model) > 4 or sum(each.size for each in self.model) > 40:
            self.model.pop(0)
            self.dropped += 1

    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        """Some of the waiting events are acknowledged."""
        if self.model:
            gone = data.draw(st.lists(st.sampled_from(self.model)))
            self.outbox.remove([each.id for each in gone])
            self.model = [each for each in self.model if each not in gone]

    @rule()
    def restart(self) -> None:
        """The process ends and starts."""
        self.database.close()
        self.open()

    @invariant()
    def same(self) -> None:
        """Both hold the same."""
        assert self.outbox.peek(10) == self.model
        assert len(self.outbox) == len(self.model)
        assert self.outbox.dropped == self.dropped

    def teardown(self) -> None:
        """Close everything."""
        self.database.close()
        self.folder.cleanup()


Queue.TestCase.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
test_queue = Queue.TestCase
