"""Reporting: facts and acknowledgements become one document, told in small, rare patches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connected_registry.edge.patch import Document, diff_reported
from connected_registry.edge.reported import Facts, bound

INTERVAL: Final = timedelta(seconds=1)
"""At most one patch in this time."""
PROGRESS_INTERVAL: Final = timedelta(seconds=5)
QUIET_INTERVAL: Final = timedelta(minutes=1)
"""How long what changes all the time by itself may wait, and how often facts are looked at."""
ROUTINE_INTERVAL: Final = timedelta(minutes=15)
"""How long the times of syncs that changed nothing may wait."""

_PATIENCE: Final = (
    (("sync", "progress"), PROGRESS_INTERVAL),
    (("cache", "freeBytes"), QUIET_INTERVAL),
    (("lastActivityTime",), QUIET_INTERVAL),
    # A continuous schedule moves these every minute; alone they are not worth a message each.
    (("inSyncAsOf",), ROUTINE_INTERVAL),
    (("sync", "lastSyncStartTime"), ROUTINE_INTERVAL),
    (("sync", "lastSyncEndTime"), ROUTINE_INTERVAL),
    (("sync", "lastSuccessfulSyncEndTime"), ROUTINE_INTERVAL),
    (("sync", "nextSyncTime"), ROUTINE_INTERVAL),
)


class Reporter:
    """Keeps whoever listens up to date with what the site says of itself.

    ``gather`` collects the facts; ``deliver`` gets each patch and the whole bounded document and
    raises where it did not arrive, so that the next patch covers it again.
    """

    def __init__(
        self,
        gather: Callable[[], Awaitable[Facts]],
        deliver: Callable[[Document, Document], Awaitable[None]],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        interval: timedelta = INTERVAL,
    ) -> None:
        self._gather = gather
        self._deliver = deliver
        self._clock = clock
        self._interval = interval
        self._acknowledgements: Document = {}
        self._known: Document = {}
        self._last: datetime | None = None
        self._touched = asyncio.Event()

    def acknowledge(self, acknowledgements: Mapping[str, Any]) -> None:
        """Answer desired properties; those not named keep their answers."""
        self._acknowledgements = {**self._acknowledgements, **acknowledgements}
        self.touch()

    def touch(self) -> None:
        """Say that something may have changed; cheap, call it as often as you like."""
        self._touched.set()

    def reset(self, known: Mapping[str, Any]) -> None:
        """Take ``known`` as what the other side holds, after it was read or lost."""
        self._known = {key: value for key, value in known.items() if not key.startswith("$")}
        self._last = None
        self.touch()

    async def status(self) -> Document:
        """Everything reported, uncut: ``getStatus``."""
        return (await self._gather()).document(self._acknowledgements)

    async def run(self) -> None:
        """Report for ever; the supervisor starts it again when ``deliver`` fails."""
        while True:
            self._touched.clear()
            wait = await self.report()
            # Facts are not gathered more often than once in the interval, whatever happens.
            await asyncio.sleep(self._interval.total_seconds())
            rest = max(0.0, (wait - self._interval).total_seconds())
            try:
                async with asyncio.timeout(rest):
                    await self._touched.wait()
            except TimeoutError:
                pass

    async def report(self) -> timedelta:
        """Deliver what is due now; how long the next look may wait without being touched."""
        document = bound(await self.status())
        patch = diff_reported(self._known, document)
        if not patch:
            return QUIET_INTERVAL
        now = self._clock()
        due = now if self._last is None else self._last + patience(patch, self._interval)
        # A clock that was set back must not hold reports up.
        if self._last is not None and self._last <= now < due:
            return due - now
        await self._deliver(patch, document)
        self._known = document
        self._last = now
        return QUIET_INTERVAL


def patience(patch: Mapping[str, Any], interval: timedelta = INTERVAL) -> timedelta:
    """How long a patch may wait after the last one: the shortest of what its members allow."""
    return min((_patience_of(path, interval) for path in _leaves((), patch)), default=interval)


def _patience_of(path: tuple[str, ...], interval: timedelta) -> timedelta:
    for prefix, wait in _PATIENCE:
        if path[: len(prefix)] == prefix:
            return wait
    return interval


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves((*path, key), each)
    else:
        yield path
