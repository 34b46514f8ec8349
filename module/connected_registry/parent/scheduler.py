"""The job that starts syncs: by schedule, at start, on request; never while paused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from connected_registry.errors import SyncRefused
from connected_registry.parent.occasion import Due, History, Trigger, Wait, backoff, decide
from connected_registry.parent.result import SyncResult, SyncState
from connected_registry.parent.sync import LONGEST_SLEEP, Orders, Synchronizer
from connected_registry.policy.schedule import ALWAYS

if TYPE_CHECKING:
    from connected_registry.storage.ledger import Ledger

PAUSED: Final = "sync/paused"

_log = structlog.stdlib.get_logger(__name__)


class Scheduler:
    """Decides when the synchronizer runs. Give `run` to the supervisor.

    Two pauses add up: the twin's ``sync.paused``, and that of the direct methods ``pauseSync`` and
    ``resumeSync``, which outlasts a restart.
    """

    def __init__(
        self,
        synchronizer: Synchronizer,
        ledger: Ledger,
        *,
        orders: Callable[[], Orders],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._synchronizer = synchronizer
        self._ledger = ledger
        self._orders = orders
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._changed = asyncio.Event()
        self._last_attempt: datetime | None = None
        self._failures = 0
        self._quiet_until = 0.0
        last = ledger.last_success()
        self._last_success = last.started_at if last is not None else None
        self._paused = bool(ledger.get(PAUSED))
        self._observed: SyncResult | None = None
        self._news: Trigger | None = None

    @property
    def paused(self) -> bool:
        """Whether nothing may start."""
        return self._paused or self._orders().policy.paused

    @property
    def last_success(self) -> datetime | None:
        """When the last sync that ended well had begun, also in an earlier process."""
        return self._last_success

    @property
    def state(self) -> SyncState:
        """Where syncing stands."""
        if self._synchronizer.running is not None:
            return SyncState.SYNCING
        last = self._synchronizer.last
        if last is not None:
            return last.state
        return SyncState.NOT_ACTIVATED if self._last_success is None else SyncState.PENDING

    def next_sync(self) -> datetime | None:
        """When the next sync is due; None while paused. Now, while one is due or runs."""
        if self.paused:
            return None
        decision = self._decide()
        return decision.until if isinstance(decision, Wait) else self._clock()

    def request(
        self,
        trigger: str = Trigger.MANUAL,
        *,
        repositories: Collection[str] | None = None,
        resync: bool = False,
        correlation_id: str | None = None,
    ) -> str:
        """Sync now, whatever the schedule says and however lately the parent was away.

        Returns the correlation id; that of the run under way where there is one, so compare with
        `Synchronizer.running` first to tell. Raises `SyncRefused` while paused.
        """
        if self._paused:
            raise SyncRefused("syncing is paused by pauseSync: call resumeSync first")
        if self._orders().policy.paused:
            raise SyncRefused("syncing is paused by the twin: set sync.paused to false first")
        started = self._synchronizer.start(
            trigger, repositories=repositories, resync=resync, correlation_id=correlation_id
        )
        self._changed.set()
        return started

    async def pause(self) -> None:
        """Stop the run under way, keeping what has come, and let nothing start."""
        await asyncio.to_thread(self._ledger.put, PAUSED, True)
        self._paused = True
        self.changed()

    async def resume(self) -> None:
        """Undo `pause`; what is due starts at once."""
        await asyncio.to_thread(self._ledger.put, PAUSED, None)
        self._paused = False
        self.changed()

    def changed(self, trigger: Trigger | None = None) -> None:
        """Take new orders or credentials into account, without waiting for a back-off to end.

        A run under way stops if syncing is now paused. With a ``trigger`` it makes way for a run
        of that name, which starts at once or when the window opens.
        """
        self._quiet_until = 0.0
        if self.paused:
            self._synchronizer.cancel("paused")
        elif trigger is not None:
            self._synchronizer.cancel("superseded")
        self._news = trigger or self._news
        self._changed.set()

    async def run(self) -> None:
        """Start what is due, for ever."""
        while True:
            self._changed.clear()
            if self._synchronizer.running is not None:
                result = await self._synchronizer.wait()
                if result is not None:
                    self._learn(result)
                continue
            last = self._synchronizer.last
            if last is not None:
                self._learn(last)
            decision = self._decide()
            if isinstance(decision, Due):
                self._begin(decision)
            else:
                await self._wait_until(decision.until)

    def _begin(self, due: Due) -> None:
        self._last_attempt = self._clock()
        self._news = None
        self._synchronizer.start(due.trigger, resync=due.resync, deadline=due.deadline)

    def _decide(self) -> Due | Wait:
        quiet = max(self._quiet_until - self._monotonic(), 0.0)
        history = History(self._last_success, self._last_attempt, timedelta(seconds=quiet))
        now, policy = self._clock(), self._orders().policy
        decision = decide(now, policy, history, paused=self._paused)
        if self._news is None or self.paused or quiet > 0:
            return decision
        if isinstance(decision, Due):
            return replace(decision, trigger=self._news)
        closes = policy.timetable.closes_at(now)
        if closes is None:
            return decision
        return Due(self._news, None if closes == ALWAYS else closes)

    def _learn(self, result: SyncResult) -> None:
        """Take a run's outcome into account, once."""
        if result is self._observed:
            return
        self._observed = result
        self._last_attempt = result.started_at
        if result.state is SyncState.SUCCEEDED:
            self._failures, self._quiet_until = 0, 0.0
            self._last_success = result.started_at
            return
        if result.stopped is not None and result.error is None:
            self._failures = 0
            self._quiet_until = self._monotonic() + self._rest_after(result.stopped)
            return
        if result.offline:
            # The back-off alone says when to try again, sooner than a schedule might.
            self._last_attempt = None
        self._failures += 1
        delay = backoff(self._failures, result.retry_after)
        self._quiet_until = self._monotonic() + delay.total_seconds()
        _log.info("sync.backoff", failures=self._failures, seconds=delay.total_seconds())

    def _rest_after(self, reason: str) -> float:
        """Seconds to leave the parent alone after a run that was stopped on purpose."""
        now, policy = self._clock(), self._orders().policy
        if reason == "budget" and policy.byte_budget is not None:
            return max((policy.byte_budget.bucket_end(now) - now).total_seconds(), 0.0)
        if reason == "cancelled":
            # Whoever cancelled does not want to see it start again at once.
            return max((policy.timetable.next_start(now) - now).total_seconds(), 0.0)
        return 0.0

    async def _wait_until(self, moment: datetime) -> None:
        """Return at ``moment``, when woken, or after a while: the clock may have been set."""
        left = (moment - self._clock()).total_seconds()
        pause = min(max(left, 0.0), LONGEST_SLEEP)
        sleeping = asyncio.ensure_future(self._sleep(pause))
        waking = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()
