"""The job that empties the queue towards the parent: when, how much at a time, and what if not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from connected_registry.errors import (
    ParentError,
    ParentOffline,
    ParentReadOnly,
    ParentThrottled,
    ParentUnauthorized,
    ParentUnavailable,
    RegistryError,
    ReplicaError,
    StorageError,
    SyncStopped,
)
from connected_registry.parent.lanes import Lanes
from connected_registry.parent.occasion import backoff
from connected_registry.parent.push import Announce, Pusher, UploadMemory
from connected_registry.parent.rate import ByteRate, Meter
from connected_registry.parent.sync import LONGEST_SLEEP, Orders
from connected_registry.parent.together import first_of
from connected_registry.parent.upload import LARGEST_PIECE, SMALLEST_PIECE, ParentUploads
from connected_registry.storage.outgoing import Entry

if TYPE_CHECKING:
    from connected_registry.parent.client import ParentClient
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.outgoing import Outgoing
    from connected_registry.storage.registry import Registry

PAGE: Final = 200
FIRST_REST: Final = 5.0
LONGEST_REST: Final = 3600.0
"""Seconds between two attempts of an entry that fails by itself."""

READ_ONLY_REST: Final = timedelta(minutes=10)
CUTS_BORNE: Final = 5
"""Times in a row that an entry's transfer may be cut, the parent being well, before it counts."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing at all goes up at the moment."""

    kind: str
    detail: str
    since: datetime


class Uplink:
    """Carries the queue up, in order for each tag. Give `run` to the supervisor.

    ``meter`` counts against the same budget as the sync does. ``paused`` tells of the pause of the
    direct methods; everything else is in ``orders``.
    """

    def __init__(
        self,
        client: ParentClient,
        registry: Registry,
        outgoing: Outgoing,
        ledger: Ledger,
        *,
        orders: Callable[[], Orders],
        paused: Callable[[], bool],
        meter: Meter,
        site: str,
        clock: Callable[[], datetime],
        announce: Announce,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._outgoing = outgoing
        self._orders = orders
        self._paused = paused
        self._meter = meter
        self._clock = clock
        self._announce = announce
        self._monotonic = monotonic
        self._sleep = sleep
        self._rate = ByteRate(None)
        self._rate_limit: int | None = None
        self._resting: dict[int, tuple[int, float]] = {}
        self._quiet_until = 0.0
        self._failures = 0
        self._changed = asyncio.Event()
        self.problem: Problem | None = None
        uploads = ParentUploads(
            client.session,
            UploadMemory(ledger, client.address.host),
            pace=self._pace,
            most=self._largest_piece,
        )
        self._pusher = Pusher(client, uploads, registry, outgoing, site=site, announce=announce)

    def hurry(self) -> None:
        """Try everything again at once: orders or credentials changed, or somebody asked."""
        self._quiet_until = 0.0
        self._resting.clear()
        self._changed.set()

    async def run(self) -> None:
        """Empty the queue whenever that may be done, for ever."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop ended before this thread did
                loop.call_soon_threadsafe(self._changed.set)

        self._outgoing.wake = wake
        while True:
            self._changed.clear()
            pause = self._held_back()
            if pause is None:
                pause = await self._guarded_round()
            await self._wait(pause)

    async def empty_once(self) -> int:
        """One pass over the queue; how many entries left it. Raises what stops the whole."""
        left_it = 0
        lanes = Lanes(self._attempt, self._orders().policy.concurrency)
        policy = self._orders().policy
        self._meter.limit(policy.byte_budget)
        if policy.max_bytes_per_second != self._rate_limit:
            self._rate_limit = policy.max_bytes_per_second
            self._rate = ByteRate(self._rate_limit)
        after = 0
        while True:
            page = await asyncio.to_thread(self._outgoing.page, after, PAGE)
            if not page.items:
                return left_it
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [lanes.enter(group, entry) for entry in page.items]
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
            left_it += sum(task.result() for task in tasks)
            after = page.items[-1].sequence

    def _held_back(self) -> float | None:
        """Seconds to wait before looking again; None when entries may go up now."""
        policy = self._orders().policy
        if self._paused() or policy.paused or policy.timetable.closes_at(self._clock()) is None:
            return LONGEST_SLEEP
        quiet = self._quiet_until - self._monotonic()
        return quiet if quiet > 0 else None

    async def _guarded_round(self) -> float:
        """One pass that ends when it may not go on; seconds until the next."""
        work = asyncio.create_task(self.empty_once())
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=self._until_close())
                if not work.done() and self._held_back() is not None:
                    break
        finally:
            work.cancel()
            await asyncio.wait({work})
            await self._meter.close()
        if work.cancelled():
            return 0.0
        error = work.exception()
        if error is None:
            self._recovered()
            return self._until_next_attempt()
        return self._stopped(error)

    def _stopped(self, error: BaseException) -> float:
        """Learn from what stopped a pass; seconds to keep quiet."""
        now = self._clock()
        if isinstance(error, SyncStopped):
            budget = self._orders().policy.byte_budget
            rest = (budget.bucket_end(now) - now).total_seconds() if budget else 0.0
        elif isinstance(error, ParentError | StorageError):
            kind = error.kind if isinstance(error, ParentError) else "disk"
            self._failures += 1
            wait = error.retry_after if isinstance(error, ParentError) else None
            rest = backoff(self._failures, wait).total_seconds()
            if isinstance(error, ParentReadOnly):
                rest = READ_ONLY_REST.total_seconds()
            if self.problem is None or self.problem.kind != kind:
                self.problem = Problem(kind, str(error), now)
                _log.warning("uplink.stopped", kind=kind, reason=str(error))
        else:
            raise error
        self._quiet_until = self._monotonic() + rest
        return rest

    def _recovered(self) -> None:
        self._failures = 0
        if self.problem is not None:
            self.problem = None
            _log.info("uplink.recovered")

    async def _attempt(self, entry: Entry) -> bool:
        """Carry one entry; whether it left the queue."""
        _, until = self._resting.get(entry.sequence, (0, 0.0))
        if until > self._monotonic():
            return False
        try:
            outcome = await self._pusher.carry(entry, self._orders().policy.conflicts)
        except ParentOffline as error:
            # One transfer may be cut off by something on the way while the parent is well.
            await self._client.ping()
            tries = self._rest(entry)
            if tries > CUTS_BORNE:
                await self._fail(entry, error.kind, error)
            return False
        except (ParentThrottled, ParentReadOnly):
            raise
        except (ParentUnavailable, ParentUnauthorized) as error:
            await self._client.ping()
            self._rest(entry)
            await self._fail(entry, error.kind, error)
            return False
        except ParentError as error:
            self._rest(entry)
            await self._fail(entry, error.kind, error)
            return False
        except (StorageError, RegistryError) as error:
            self._rest(entry)
            await self._fail(entry, "missing", error)
            return False
        await asyncio.to_thread(self._outgoing.finish, entry, outcome)
        self._resting.pop(entry.sequence, None)
        self._recovered()
        facts = {"kind": entry.kind.value, "repository": entry.repository, "tag": entry.tag}
        self._announce("pushArrived", {**facts, "digest": entry.digest, "outcome": outcome.value})
        _log.info("uplink.arrived", entry=str(entry), kind=entry.kind.value, outcome=outcome.value)
        return True

    def _rest(self, entry: Entry) -> int:
        """Leave an entry alone for a while; how often in a row that has been."""
        tries = self._resting.get(entry.sequence, (0, 0.0))[0] + 1
        pause = min(FIRST_REST * (1 << min(tries - 1, 16)), LONGEST_REST)
        self._resting[entry.sequence] = (tries, self._monotonic() + pause)
        return tries

    async def _fail(self, entry: Entry, reason: str, error: ReplicaError) -> None:
        if entry.reason != reason:
            _log.warning("uplink.failed", entry=str(entry), reason=reason, detail=str(error))
            facts: dict[str, Any] = {"entry": str(entry), "reason": reason, "detail": str(error)}
            self._announce("pushFailed", facts)
        await asyncio.to_thread(self._outgoing.fail, entry, reason, str(error))

    async def _pace(self, count: int) -> None:
        """Hold the rate and the budget before ``count`` bytes are sent."""
        await self._meter.tick()
        await self._rate.take(count)

    def _largest_piece(self) -> int:
        """So much that a rate limit is felt every few seconds, not every few minutes."""
        if self._rate_limit is None:
            return LARGEST_PIECE
        return min(LARGEST_PIECE, max(self._rate_limit * 2, SMALLEST_PIECE))

    def _until_close(self) -> float:
        closes = self._orders().policy.timetable.closes_at(self._clock())
        left = (closes - self._clock()).total_seconds() if closes is not None else 0.0
        return min(max(left, 0.05), 1.0)

    def _until_next_attempt(self) -> float:
        if not self._resting:
            return LONGEST_SLEEP
        soonest = min(until for _, until in self._resting.values())
        return min(max(soonest - self._monotonic(), 0.1), LONGEST_SLEEP)

    async def _wait(self, seconds: float) -> None:
        """Return after a while, or when something changed."""
        sleeping = asyncio.ensure_future(self._sleep(min(max(seconds, 0.0), LONGEST_SLEEP)))
        waking = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()
