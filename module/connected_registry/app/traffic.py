"""Bytes from the parent and to clients, a day at a time, for the status page's charts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from connected_registry.storage.ledger import Ledger

KEY: Final = "traffic"
DAYS: Final = 30

_LOOK_EVERY: Final = 60.0
"""Seconds between two looks at what has moved; bytes around midnight may fall on either day."""
_WRITE_EVERY: Final = timedelta(minutes=10)
"""Seldom, to spare flash memory: a crash may lose so much of the figures."""


class Traffic:
    """Counts in memory and writes what has changed now and then, and at the end.

    ``received`` is a count that only grows, or starts again at nought with another parent.
    """

    def __init__(
        self, ledger: Ledger, received: Callable[[], int], clock: Callable[[], datetime]
    ) -> None:
        """Reads the ledger."""
        self._ledger = ledger
        self._received = received
        self._clock = clock
        self._seen = 0
        self._served = 0
        self._days = _read(ledger.get(KEY))
        self._kept = dict(self._days)
        self._written_at = clock()

    def served(self, count: int) -> None:
        """Note bytes that a client got."""
        self._served += count

    def days(self) -> tuple[tuple[date, int, int], ...]:
        """The last `DAYS` days with bytes received and served, today last."""
        self._gather()
        today = self._clock().astimezone(UTC).date()
        wanted = [today - timedelta(days=back) for back in reversed(range(DAYS))]
        return tuple((day, *self._days.get(day, (0, 0))) for day in wanted)

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self._gather()
            if self._clock() - self._written_at >= _WRITE_EVERY:
                await self.save()

    async def save(self) -> None:
        """Put what has changed into the ledger."""
        self._gather()
        self._written_at = self._clock()
        days = dict(self._days)
        if days != self._kept:
            document = {day.isoformat(): list(counts) for day, counts in days.items()}
            await asyncio.to_thread(self._ledger.put, KEY, document)
            self._kept = days

    def _gather(self) -> None:
        received = self._received()
        fresh = received - self._seen if received >= self._seen else received
        served, self._served, self._seen = self._served, 0, received
        if not (fresh or served):
            return
        today = self._clock().astimezone(UTC).date()
        before = self._days.get(today, (0, 0))
        self._days[today] = (before[0] + fresh, before[1] + served)
        for day in sorted(self._days)[: -2 * DAYS]:
            del self._days[day]


def _read(document: Any) -> dict[date, tuple[int, int]]:
    if not isinstance(document, dict):
        return {}
    return {
        date.fromisoformat(day): (int(received), int(served))
        for day, (received, served) in document.items()
    }
