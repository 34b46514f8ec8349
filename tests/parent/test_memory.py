"""What is remembered between runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connected_registry.parent.memory import (
    REPOSITORIES,
    WRITE_EVERY,
    Completeness,
    Memory,
    RepositoryFacts,
)
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.ledger import Ledger


class Life:
    """A ledger that outlives the memories made of it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def memory(self) -> Memory:
        """What a process knows when it starts."""
        return Memory(self.ledger, lambda: self.now)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """An empty ledger."""
    with DataFolder.open(tmp_path / "data") as folder, Database(folder.database) as database:
        yield Life(Ledger(database))


def test_everything_comes_back_after_a_restart(life: Life) -> None:
    """Connection, completeness and repositories are read as they were written."""
    memory = life.memory()
    memory.heard()
    memory.completeness = Completeness("false", life.now, 3, 4096, "scope")
    memory.repositories["team/app"] = RepositoryFacts(
        life.now, life.now, "offline", "no route", ("1.0", "1.1")
    )
    memory.save()
    again = life.memory()
    assert again.connection == memory.connection
    assert again.completeness == memory.completeness
    assert again.repositories == memory.repositories


def test_offline_since_the_first_failure(life: Life) -> None:
    """Further failures do not move the time; the next answer does."""
    memory = life.memory()
    memory.heard()
    heard = life.now
    life.now += timedelta(hours=1)
    memory.lost("offline", "refused", offline=True)
    lost = life.now
    life.now += timedelta(hours=1)
    memory.lost("offline", "timed out", offline=True)
    connection = memory.connection
    assert (connection.online, connection.since) == (False, lost)
    assert (connection.confirmed_at, connection.detail) == (heard, "timed out")
    memory.heard()
    assert (memory.connection.online, memory.connection.since) == (True, life.now)


def test_a_parent_that_refuses_is_online(life: Life) -> None:
    """Wrong credentials are no outage, and are told apart from one."""
    memory = life.memory()
    memory.lost("unauthorized", "401", offline=False)
    assert (memory.connection.online, memory.connection.kind) == (True, "unauthorized")


def test_mere_confirmations_are_written_rarely(life: Life) -> None:
    """A sync a minute that finds nothing new writes every ten minutes; a change at once."""
    memory = life.memory()
    memory.repositories["team/app"] = RepositoryFacts(life.now)
    memory.save()
    written = life.ledger.get(REPOSITORIES)
    life.now += timedelta(minutes=1)
    memory.repositories["team/app"] = RepositoryFacts(life.now)
    memory.save()
    assert life.ledger.get(REPOSITORIES) == written
    memory.repositories["team/app"] = RepositoryFacts(life.now, failure="offline")
    memory.save()
    changed = life.ledger.get(REPOSITORIES)
    assert changed != written
    life.now += WRITE_EVERY
    memory.repositories["team/app"] = RepositoryFacts(life.now, failure="offline")
    memory.save()
    assert life.ledger.get(REPOSITORIES) != changed


@pytest.mark.parametrize("stored", ["text", 7, ["list"], {"team/app": {"listedAt": "never"}}])
def test_unreadable_notes_are_as_good_as_none(life: Life, stored: object) -> None:
    """What another release or a bad disk left does not stop the start."""
    life.ledger.put(REPOSITORIES, stored)
    assert life.memory().repository("team/app").listed_at is None
