from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from connected_registry.app.traffic import DAYS, Traffic
from storage.store import open_store

TODAY = date(2026, 11, 23)


class Link:
    """Bytes that came from the parent, and the time."""

    def __init__(self) -> None:
        self.received = 0
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_days_are_kept_over_a_restart(tmp_path: Path) -> None:
    """Each with its own sums, the last thirty of them."""
    link = Link()
    with open_store(tmp_path / "data") as store:
        traffic = Traffic(store.ledger, lambda: link.received, lambda: link.now)
        link.received = 1000
        traffic.served(7)
        traffic.served(5)
        assert traffic.days()[-1] == (TODAY, 1000, 12)
        link.now += timedelta(days=1)
        link.received = 1500
        await traffic.save()

        link.received = 0
        again = Traffic(store.ledger, lambda: link.received, lambda: link.now)
        days = again.days()

    assert len(days) == DAYS
    assert days[-2:] == ((TODAY, 1000, 12), (TODAY + timedelta(days=1), 500, 0))
    assert days[0] == (TODAY + timedelta(days=2 - DAYS), 0, 0)


async def test_another_parent_begins_at_nought(tmp_path: Path) -> None:
    """Its bytes are added to what came before."""
    link = Link()
    with open_store(tmp_path / "data") as store:
        traffic = Traffic(store.ledger, lambda: link.received, lambda: link.now)
        link.received = 1000
        traffic.days()
        link.received = 300
        assert traffic.days()[-1] == (TODAY, 1300, 0)


async def test_old_days_are_dropped(tmp_path: Path) -> None:
    """The document does not grow for ever."""
    link = Link()
    with open_store(tmp_path / "data") as store:
        traffic = Traffic(store.ledger, lambda: link.received, lambda: link.now)
        for _ in range(3 * DAYS):
            link.now += timedelta(days=1)
            traffic.served(1)
            traffic.days()
        await traffic.save()
        assert len(store.ledger.get("traffic")) == 2 * DAYS
