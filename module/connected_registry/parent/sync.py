"""One sync at a time: plan, fetch, commit, and remember how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog

from connected_registry.errors import (
    ParentError,
    ParentOffline,
    ReplicaError,
    StorageError,
    SyncStopped,
)
from connected_registry.parent.admission import Plenty, Room
from connected_registry.parent.books import Books, fingerprint
from connected_registry.parent.carry import Carried, Carrier
from connected_registry.parent.fetch import Fetcher
from connected_registry.parent.memory import Completeness, Connection, Memory
from connected_registry.parent.occasion import Trigger
from connected_registry.parent.patience import Patience
from connected_registry.parent.plan import Plan
from connected_registry.parent.planner import Planner
from connected_registry.parent.progress import IDLE, Progress, Tracker
from connected_registry.parent.rate import ByteRate, Meter
from connected_registry.parent.result import ImageFailure, SyncResult
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import Scope
from connected_registry.policy.sync import SyncPolicy

if TYPE_CHECKING:
    from connected_registry.parent.client import ParentClient
    from connected_registry.storage.blobs import BlobStore
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.registry import Registry

LONGEST_SLEEP: Final = 30.0
"""Seconds after which a waiting task looks at the clock again, in case it jumped."""

RATE: Final = "sync/rate"

SCHEDULED: Final = frozenset({Trigger.INITIAL, Trigger.SCHEDULE, Trigger.RECOVERY})
"""Triggers by which nobody asked for this very run."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Orders:
    """What is asked of the sync now: the twin's scope, policy and mode."""

    scope: Scope
    policy: SyncPolicy
    mode: Mode


Announce = Callable[[str, dict[str, Any]], None]


def _say_nothing(_event: str, _facts: dict[str, Any]) -> None:
    """Nobody listens."""


class Synchronizer:
    """Syncs from one parent. ``orders`` is asked anew for each run.

    ``announce`` is told ``syncStarted``, ``syncCompleted``, ``syncFailed``, ``imageAvailable``
    and ``imageRemoved``, each with its facts; it must not raise or wait.
    """

    def __init__(
        self,
        client: ParentClient,
        registry: Registry,
        blobs: BlobStore,
        ledger: Ledger,
        *,
        orders: Callable[[], Orders],
        clock: Callable[[], datetime],
        announce: Announce = _say_nothing,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        room: Room | None = None,
    ) -> None:
        self._client = client
        self._room = room or Plenty()
        self._registry = registry
        self._blobs = blobs
        self._ledger = ledger
        self._orders = orders
        self._clock = clock
        self._announce = announce
        self._sleep = sleep
        self._memory = Memory(ledger, clock)
        self._books = Books(ledger, registry, self._memory, clock)
        self._planner = Planner(client, registry, blobs, ledger, self._memory, clock=clock)
        self.meter = Meter(ledger, clock, lambda: client.bytes_received + client.bytes_sent)
        """Counts both directions against the byte budget."""
        self._patience = Patience()
        self._tracker: Tracker | None = None
        self._task: asyncio.Task[SyncResult] | None = None
        self._running: str | None = None
        self._stop: str | None = None
        self._can_be_cancelled = False
        self.last: SyncResult | None = None
        """The newest finished run of this process."""

    @property
    def running(self) -> str | None:
        """The correlation id of the run under way."""
        return self._running

    @property
    def running_for(self) -> float:
        """Seconds since the run under way began; 0 without one."""
        return self._tracker.elapsed if self._tracker is not None else 0.0

    @property
    def connection(self) -> Connection:
        """Whether the parent can be reached, and since when."""
        return self._memory.connection

    @property
    def completeness(self) -> Completeness:
        """Whether the site holds all that it should; unknown once the scope is another."""
        known = self._memory.completeness
        if known.scope != fingerprint(self._orders().scope):
            return replace(known, in_sync="unknown")
        return known

    @property
    def memory(self) -> Memory:
        """What is remembered between runs; for reports and `explain`, to be read only."""
        return self._memory

    def progress(self) -> Progress:
        """How far the run under way is."""
        return self._tracker.look() if self._tracker is not None else IDLE

    async def plan(self, repositories: Collection[str] | None = None) -> Plan:
        """What a sync would do now. Nothing changes but what is known of the connection."""
        orders = self._orders()
        try:
            plan = await self._planner.plan(
                orders.scope,
                orders.mode,
                repositories=repositories,
                max_delete_percent=orders.policy.max_delete_percent,
            )
        except ParentError as error:
            self._lost(error)
            raise
        self._memory.heard()
        return plan

    async def last_rate(self) -> float | None:
        """Bytes a second of the last sync that moved anything worth measuring."""
        rate = await asyncio.to_thread(self._ledger.get, RATE)
        return float(rate) if isinstance(rate, int | float) and rate > 0 else None

    def start(
        self,
        trigger: str,
        *,
        repositories: Collection[str] | None = None,
        resync: bool = False,
        deadline: datetime | None = None,
        correlation_id: str | None = None,
    ) -> str:
        """Begin a run and return its correlation id; that of the one under way if there is one."""
        if self._running is not None:
            return self._running
        self._running = correlation_id = correlation_id or str(uuid4())
        self._stop = None
        self._can_be_cancelled = False
        self._tracker = Tracker()
        self._task = asyncio.create_task(
            self._run(correlation_id, trigger, repositories, resync, deadline),
            name=f"sync {correlation_id}",
        )
        return correlation_id

    async def wait(self) -> SyncResult | None:
        """The result of the run under way, or of the last one."""
        if self._task is not None:
            return await asyncio.shield(self._task)
        return self.last

    async def run(
        self,
        trigger: str,
        *,
        repositories: Collection[str] | None = None,
        resync: bool = False,
        deadline: datetime | None = None,
    ) -> SyncResult:
        """`start` and `wait`. Cancelling the caller does not end the run; see `close`."""
        self.start(trigger, repositories=repositories, resync=resync, deadline=deadline)
        assert self._task is not None
        return await asyncio.shield(self._task)

    def cancel(self, reason: str = "cancelled") -> bool:
        """End the run under way; whether there was one. What has come is kept."""
        if self._task is None or self._task.done() or self._stop is not None:
            return False
        self._stop = reason
        if self._can_be_cancelled:
            self._task.cancel()
        return True

    async def close(self) -> None:
        """End the run under way and wait until its last bytes are written."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(
        self,
        correlation_id: str,
        trigger: str,
        repositories: Collection[str] | None,
        resync: bool,
        deadline: datetime | None,
    ) -> SyncResult:
        begun = _Begun(correlation_id, trigger, self._clock())
        watch = None
        if deadline is not None:
            watch = asyncio.create_task(self._watch(deadline), name="sync window")
        try:
            try:
                await asyncio.to_thread(self._ledger.start_run, trigger, begun.at, correlation_id)
                # A task cancelled before its first step would never clean up after itself.
                self._can_be_cancelled = True
                if self._stop is not None:
                    raise SyncStopped(self._stop)
                self._announce("syncStarted", {"correlationId": correlation_id, "trigger": trigger})
                await self._work(begun, repositories, resync)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._stop is None or task is None:
                    raise
                task.uncancel()
                begun.stopped = self._stop
            except SyncStopped as stopped:
                begun.stopped = stopped.reason
            except (ParentError, StorageError) as error:
                begun.error = error
            # From here on a late cancel changes nothing any more.
            self._stop = self._stop or "finished"
            return await self._finish(begun)
        finally:
            if watch is not None:
                watch.cancel()
            self._running = None
            self._tracker = None

    async def _work(
        self, begun: _Begun, repositories: Collection[str] | None, resync: bool
    ) -> None:
        orders = self._orders()
        tracker = self._tracker
        assert tracker is not None
        self.meter.limit(orders.policy.byte_budget)
        await self.meter.tick()
        plan = await self._planner.plan(
            orders.scope,
            orders.mode,
            repositories=repositories,
            resync=resync,
            max_delete_percent=orders.policy.max_delete_percent,
        )
        self._memory.heard()
        withheld = {
            str(image): failure
            for image in plan.images
            if begun.trigger in SCHEDULED
            and (failure := self._patience.withhold(image)) is not None
        }
        begun.plan = plan = plan.without(withheld)
        await asyncio.to_thread(self._books.enter, plan, orders.scope)
        tracker.phase = "fetching"
        tracker.images_total = len(plan.images)
        tracker.bytes_total = plan.bytes_to_fetch
        await self.meter.tick()
        fetcher = Fetcher(
            self._client,
            self._blobs,
            concurrency=orders.policy.concurrency,
            rate=ByteRate(orders.policy.max_bytes_per_second),
            meter=self.meter,
            tracker=tracker,
            sleep=self._sleep,
        )
        carrier = Carrier(
            self._client,
            self._registry,
            self._blobs,
            self._ledger,
            fetcher,
            tracker,
            concurrency=orders.policy.concurrency,
            clock=self._clock,
            announce=self._told,
            room=self._room,
        )
        begun.carried, begun.fetcher = carrier.carried, fetcher
        await carrier.carry(plan)

    def _lost(self, error: ParentError) -> None:
        self._memory.lost(error.kind, str(error), offline=isinstance(error, ParentOffline))

    def _told(self, event: str, facts: dict[str, Any]) -> None:
        if event == "imageAvailable":
            self._books.one_less_missing()
        self._announce(event, facts)

    async def _finish(self, begun: _Begun) -> SyncResult:
        """Write down how it ended, and tell."""
        plan, carried, tracker = begun.plan, begun.carried, self._tracker
        assert tracker is not None
        error = begun.error
        if isinstance(error, ParentError):
            self._lost(error)
        failures = list(carried.failures)
        left = 0
        if plan is not None:
            self._patience.learn(plan.images, carried.failures)
            failures = [*(_from_plan(plan)), *failures]
            left = len(plan.images) - len(carried.images) - len(carried.failures)
        result = SyncResult(
            correlation_id=begun.correlation_id,
            trigger=begun.trigger,
            started_at=begun.at,
            ended_at=self._clock(),
            images_fetched=len(carried.images),
            images_current=len(plan.current) if plan is not None else 0,
            images_left=left,
            blobs_fetched=begun.fetcher.fetched if begun.fetcher is not None else 0,
            bytes_fetched=tracker.bytes_done,
            removed=len(carried.removed),
            held_back=len(plan.held_back) if plan is not None else 0,
            failures=tuple(failures),
            stopped=begun.stopped,
            error=str(error) if error is not None else None,
            error_kind=_kind(error),
            retry_after=error.retry_after if isinstance(error, ParentError) else None,
        )
        try:
            await asyncio.to_thread(self._write_down, result, begun, tracker.average)
            await self.meter.close()
        except StorageError:
            # What was done is done; only the note of it is missing.
            _log.exception("sync.not_written_down", correlation_id=result.correlation_id)
        self.last = result
        succeeded = result.state == "Succeeded"
        self._announce("syncCompleted" if succeeded else "syncFailed", result.to_json())
        _log.info(
            "sync.finished",
            correlation_id=result.correlation_id,
            trigger=result.trigger,
            state=result.state.value,
            images=result.images_fetched,
            bytes=result.bytes_fetched,
            error=result.summary,
        )
        return result

    def _write_down(self, result: SyncResult, begun: _Begun, rate: float | None) -> None:
        """Keep the outcome. Runs in a thread."""
        if begun.plan is not None:
            self._books.close(begun.plan, begun.carried)
        self._memory.save()
        if rate is not None:
            self._ledger.put(RATE, round(rate))
        self._ledger.finish_run(
            result.correlation_id,
            result.run_state,
            result.ended_at,
            images=result.images_fetched,
            failed=len(result.failures),
            bytes_fetched=result.bytes_fetched,
            error=result.summary,
        )

    async def _watch(self, deadline: datetime) -> None:
        """Stop the run when the window closes, also when the clock is set meanwhile."""
        while (left := (deadline - self._clock()).total_seconds()) > 0:
            await self._sleep(min(left, LONGEST_SLEEP))
        self.cancel("window")


class _Begun:
    """A run under way and what has come of it so far."""

    def __init__(self, correlation_id: str, trigger: str, at: datetime) -> None:
        self.correlation_id = correlation_id
        self.trigger = trigger
        self.at = at
        self.plan: Plan | None = None
        self.carried = Carried()
        self.fetcher: Fetcher | None = None
        self.stopped: str | None = None
        self.error: ReplicaError | None = None


def _from_plan(plan: Plan) -> list[ImageFailure]:
    return [
        ImageFailure(each.name, each.reason, each.detail, each.repository, each.tag)
        for each in plan.all_failures
    ]


def _kind(error: ReplicaError | None) -> str | None:
    if error is None:
        return None
    return error.kind if isinstance(error, ParentError) else "disk"
