"""Bytes a second and bytes a period, measured on a loop whose clock is the test's."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connected_registry.errors import SyncStopped
from connected_registry.parent.rate import SAVE_EVERY, ByteRate, Meter
from connected_registry.policy.sync import ByteBudget
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.ledger import Ledger


class _Jumping(selectors.DefaultSelector):
    """Does not wait: the time that would have passed is added to the loop's clock."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing, at once, but later; a look at the clock takes some time as well."""
        self.skipped += max(timeout or 0.0, 1e-6)
        return super().select(0)


def on_virtual_time(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that ``work`` would have taken."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.skipped  # type: ignore[method-assign]
    try:
        loop.run_until_complete(asyncio.ensure_future(work(), loop=loop))
        return selector.skipped
    finally:
        loop.close()


@pytest.mark.parametrize("limit", [1_000, 65_536, 1_000_000, 50_000_000])
@pytest.mark.parametrize("seconds", [4, 60])
@pytest.mark.parametrize("tasks", [1, 3])
def test_the_rate_is_kept_to_five_percent(limit: int, seconds: int, tasks: int) -> None:
    """Whatever the limit, its length and the number of fetches that share it."""
    total = limit * seconds
    chunk = 65_536

    async def work() -> None:
        rate = ByteRate(limit)
        left = total

        async def fetch() -> None:
            nonlocal left
            while left > 0:
                count = min(chunk, left)
                left -= count
                await rate.take(count)

        await asyncio.gather(*(fetch() for _ in range(tasks)))

    assert on_virtual_time(work) == pytest.approx(seconds, rel=0.05)


def test_no_limit_takes_no_time() -> None:
    """Without a limit nothing waits."""

    async def work() -> None:
        await ByteRate(None).take(10**12)

    assert on_virtual_time(work) < 0.001


def test_fetches_share_the_rate_fairly() -> None:
    """Of three fetches that ask alike, none gets far ahead."""
    counts = [0, 0, 0]

    async def work() -> None:
        rate = ByteRate(100_000)

        async def fetch(n: int) -> None:
            for _ in range(20):
                await rate.take(10_000)
                counts[n] += 1
                assert max(counts) - min(counts) <= 2

        await asyncio.gather(*(fetch(n) for n in range(3)))

    on_virtual_time(work)
    assert counts == [20, 20, 20]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An open database."""
    with DataFolder.open(tmp_path / "data") as folder, Database(folder.database) as found:
        yield found


class Link:
    """What came, and when."""

    def __init__(self) -> None:
        self.received = 0
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def meter(self, database: Database, size: int) -> Meter:
        """A meter with a daily budget."""
        meter = Meter(Ledger(database), lambda: self.now, lambda: self.received)
        meter.limit(ByteBudget(bytes=size, per=timedelta(days=1)))
        return meter


async def test_the_budget_counts_everything_that_came(database: Database) -> None:
    """The tick that uses it up raises, and so does every later one of the period."""
    link = Link()
    meter = link.meter(database, 1000)
    link.received = 999
    await meter.tick()
    link.received = 1000
    for _ in range(2):
        with pytest.raises(SyncStopped, match="budget"):
            await meter.tick()


async def test_the_next_period_has_a_fresh_budget(database: Database) -> None:
    """Periods are aligned, and what was spent belongs to the one it was spent in."""
    link = Link()
    meter = link.meter(database, 1000)
    link.received = 1500
    with pytest.raises(SyncStopped):
        await meter.tick()
    link.now += timedelta(days=1)
    await meter.tick()
    link.received += 999
    await meter.tick()


async def test_what_was_spent_is_known_after_a_restart(database: Database) -> None:
    """Also when the process was killed: at most a megabyte is forgotten."""
    link = Link()
    meter = link.meter(database, 10 * SAVE_EVERY)
    for _ in range(9):
        link.received += SAVE_EVERY
        await meter.tick()
    link.received += SAVE_EVERY // 2
    await meter.tick()
    killed = link.meter(database, 10 * SAVE_EVERY)
    link.received += SAVE_EVERY
    with pytest.raises(SyncStopped):
        await killed.tick()


async def test_closing_writes_down_the_rest(database: Database) -> None:
    """After a clean stop nothing is forgotten."""
    link = Link()
    meter = link.meter(database, 1000)
    link.received = 700
    await meter.tick()
    await meter.close()
    assert Ledger(database).meter(link.now) == 700


async def test_bytes_that_came_without_a_budget_do_not_count(database: Database) -> None:
    """A budget counts from when it is put in force."""
    link = Link()
    meter = Meter(Ledger(database), lambda: link.now, lambda: link.received)
    link.received = 5000
    await meter.tick()
    meter.limit(ByteBudget(bytes=1000, per=timedelta(days=1)))
    link.received += 999
    await meter.tick()
