"""What happens on site becomes events, kept durably until the hub has them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import structlog

from connected_registry.edge.reported import ConnectionState, SyncTrigger
from connected_registry.edge.telemetry import (
    Event,
    ImageAvailable,
    ImageRemoved,
    PushConflict,
    RepositoryUsage,
    StateChanged,
    SyncCompleted,
    SyncFailed,
    SyncStarted,
    Usage,
)
from connected_registry.endpoint.services import Pull
from connected_registry.errors import StorageError
from connected_registry.parent.result import SyncResult
from connected_registry.policy.storage import Telemetry as TelemetryPolicy
from connected_registry.storage.outbox import StoredEvent

TRY_AGAIN: Final = 5.0
"""Seconds before an event that could not be kept is tried again."""
MAX_WAITING: Final = 1000
"""Events held in memory while the disk takes none; the oldest go first."""

LOOK_AGAIN: Final = 30.0
"""Seconds after which a changed interval is noticed at the latest."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Used:
    """One repository since the last summary."""

    pulls: int = 0
    bytes: int = 0
    images: set[str] = field(default_factory=set)


class SiteEvents:
    """Collects events and usage. ``emit`` keeps one event; ``policy`` says what is wanted."""

    def __init__(
        self,
        emit: Callable[[StoredEvent], Any],
        policy: Callable[[], TelemetryPolicy],
        bytes_from_parent: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        self._emit = emit
        self._policy = policy
        self._bytes_from_parent = bytes_from_parent
        self._clock = clock
        self._waiting: asyncio.Queue[StoredEvent] = asyncio.Queue()
        self._used: dict[str, _Used] = {}
        self._since = clock()
        self._bytes_before = bytes_from_parent()
        self._state: ConnectionState | None = None
        self._begun: SyncStarted | None = None
        self._failure: tuple[str, str] | None = None

    def happened(self, event: Event) -> None:
        """Keep an event if it is wanted. Neither waits nor raises."""
        if self._policy().sends(event.name):
            self._waiting.put_nowait(event.stored(self._clock()))

    def pulled(self, pull: Pull) -> None:
        """Count something served."""
        used = self._used.setdefault(pull.repository, _Used())
        used.bytes += pull.bytes
        if pull.kind == "manifest":
            used.pulls += 1
            used.images.add(pull.reference)

    def state(self, now: ConnectionState, description: str) -> None:
        """Note the connection state; a change is an event. A sync under way is no other state."""
        if now is ConnectionState.SYNCING:
            now = ConnectionState.ONLINE
        before, self._state = self._state, now
        if before is not None and before is not now:
            self.happened(StateChanged(before=before, after=now, description=description))

    def synced(self, event: Event) -> None:
        """Tell what a sync did: not that it began and ended when nothing came of it.

        With a continuous schedule that would be two messages a minute for no news; the same goes
        for a failure that repeats.
        """
        match event:
            case SyncStarted():
                self._begun = event
                return
            case SyncCompleted() if self._is_routine(event):
                return
            case SyncFailed() if (event.code, event.description) == self._failure:
                return
            case SyncFailed():
                self._failure = (event.code, event.description)
            case SyncCompleted():
                self._failure = None
        if self._begun is not None:
            begun, self._begun = self._begun, None
            self.happened(begun)
        self.happened(event)

    def _is_routine(self, event: SyncCompleted) -> bool:
        quiet = event.trigger is SyncTrigger.SCHEDULE and self._failure is None
        return quiet and not (event.images_fetched or event.images_removed)

    async def run(self) -> None:
        """Keep what happened, and sum up usage once in a while, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep())
            group.create_task(self._sum_up())

    async def _keep(self) -> None:
        while True:
            event = await self._waiting.get()
            for _ in itertools.count():
                if await self._kept(event):
                    break
                await asyncio.sleep(TRY_AGAIN)

    async def _kept(self, event: StoredEvent) -> bool:
        try:
            await self._emit(event)
        except StorageError as error:
            # A full disk delays events; those that no longer fit in memory are told here.
            lost = max(0, self._waiting.qsize() - MAX_WAITING)
            for _ in range(lost):
                self._waiting.get_nowait()
            _log.error("telemetry.not_kept", error=str(error), lost=lost)
            return False
        return True

    async def _sum_up(self) -> None:
        while True:
            interval = self._policy().interval
            elapsed = self._clock() - self._since
            if interval and elapsed >= interval:
                self.summarise()
                continue
            left = (interval - elapsed).total_seconds() if interval else LOOK_AGAIN
            await asyncio.sleep(min(max(left, 0.1), LOOK_AGAIN))

    def summarise(self) -> None:
        """Turn the counts into one event and begin anew; nothing used is nothing said."""
        since, self._since = self._since, self._clock()
        used, self._used = self._used, {}
        received = self._bytes_from_parent()
        # A new parent begins to count at nought.
        moved = received - self._bytes_before if received >= self._bytes_before else received
        self._bytes_before = received
        if used or moved:
            self.happened(
                Usage(
                    since=since,
                    until=self._since,
                    repositories=tuple(
                        RepositoryUsage(
                            name=name, pulls=each.pulls, bytes=each.bytes, images=len(each.images)
                        )
                        for name, each in sorted(used.items())
                    ),
                    bytes_from_parent=moved,
                )
            )


def sync_event(name: str, facts: dict[str, Any], last: SyncResult | None) -> Event | None:
    """The event for something that the synchronizer announced; None for what is not told."""
    match name:
        case "syncStarted":
            return SyncStarted(
                correlation_id=facts["correlationId"], trigger=SyncTrigger(facts["trigger"])
            )
        case "imageAvailable":
            return ImageAvailable(
                repository=facts["repository"],
                tag=facts["tag"],
                digest=facts["digest"],
                bytes=facts["bytes"],
            )
        case "imageRemoved":
            return ImageRemoved(
                repository=facts["repository"],
                tag=facts["tag"],
                digest=facts["digest"],
                reason=facts.get("reason", "removed at the parent"),
            )
        case "pushConflict":
            return PushConflict(
                repository=facts["repository"],
                tag=facts["tag"],
                here=facts["here"],
                parent=facts["parent"],
                kept=facts["kept"],
                conflict_tag=facts["conflictTag"],
            )
        case "syncCompleted" if last is not None:
            return SyncCompleted(
                correlation_id=last.correlation_id,
                trigger=SyncTrigger(last.trigger),
                images_fetched=last.images_fetched,
                images_removed=last.removed,
                bytes_fetched=last.bytes_fetched,
                seconds=max(0, round((last.ended_at - last.started_at).total_seconds())),
            )
        case "syncFailed" if last is not None:
            return SyncFailed(
                correlation_id=last.correlation_id,
                trigger=SyncTrigger(last.trigger),
                code=last.error_kind or last.stopped or "failed",
                description=last.summary or "",
                images_failed=len(last.failures),
            )
    return None
