"""Garbage collection by the schedule and on demand, and purging."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from connected_registry.app.store import Store
from connected_registry.app.thread import see_through
from connected_registry.edge import payload as payloads
from connected_registry.edge.methods import Answer
from connected_registry.edge.tasks import Task
from connected_registry.edge.twin import Desired
from connected_registry.errors import Conflict, NameUnknown
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.mode import Mode
from connected_registry.storage.collected import Collected, Graces
from connected_registry.storage.collection import LAST, Collector

AFTER_START: Final = timedelta(minutes=15)
"""A collection that was missed is made up for, but not while everything starts."""

LOOK_AGAIN: Final = 30.0
"""Seconds after which a changed schedule or clock is noticed at the latest."""

PAUSE: Final = 0.002
"""Seconds between two steps: pushes that wait for the writer go first."""

_TAGS: Final = 200

_log = structlog.stdlib.get_logger(__name__)


class Collecting:
    """Runs the collector, once at a time. ``changed`` is called when images may have gone."""

    def __init__(
        self,
        store: Store,
        collector: Collector,
        desired: Callable[[], Desired],
        *,
        clock: Callable[[], datetime],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._collector = collector
        self._desired = desired
        self._clock = clock
        self._changed = changed
        self._lock = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether a collection is under way."""
        return self._lock.locked()

    async def collect(
        self,
        *,
        dry_run: bool = False,
        graces: Graces | None = None,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> Collected:
        """All of it, step by step, after the one that may be under way."""
        async with self._lock:
            done = Collected(dry_run=dry_run)
            steps = self._collector.steps(dry_run=dry_run, graces=graces)
            while (step := await see_through(lambda: next(steps, None))) is not None:
                done = step
                if report is not None:
                    report(done.to_json())
                await asyncio.sleep(PAUSE)
        if not dry_run:
            _log.info(
                "collection.finished",
                manifests=done.manifests,
                blobs=done.blobs,
                files=done.files,
                bytes=done.bytes,
            )
            if done.manifests or done.blobs:
                self._changed()
        return done

    async def run(self) -> None:
        """Collect by the schedule, for ever. One that was missed is made up for."""
        ready = asyncio.get_running_loop().time() + AFTER_START.total_seconds()
        while True:
            policy, now = self._desired().garbage_collection, self._clock()
            late = asyncio.get_running_loop().time() >= ready
            if policy.enabled and late and await self._is_due(policy.timetable.last_start(now)):
                await self.collect()
                continue
            left = (policy.timetable.next_start(now) - now).total_seconds()
            await asyncio.sleep(min(max(left, 1.0), LOOK_AGAIN))

    async def _is_due(self, planned: datetime) -> bool:
        last = await asyncio.to_thread(self._store.ledger.get, LAST)
        if not isinstance(last, dict):
            return True
        at = datetime.fromisoformat(last["at"])
        # A collection in the future was by a clock that was wrong.
        return at < planned or at > self._clock().astimezone(UTC)

    async def collect_garbage(self, wanted: payloads.CollectGarbage, task: Task) -> Answer:
        """The direct method."""
        done = await self.collect(dry_run=wanted.dry_run, report=task.report)
        return done.to_json()

    async def purge(self, wanted: payloads.Purge, task: Task) -> Answer:
        """The direct method: images go here, whatever becomes of them at the parent.

        What the scope of a ReadOnly replica names would come back with the next sync, and what
        waits to go up would be lost: both stay.
        """
        repository = RepositoryName(wanted.repository)
        tags = [Tag(tag) for tag in wanted.tags]
        if tags:
            for tag in tags:
                if (why := await asyncio.to_thread(self._why_not, repository, tag)) is not None:
                    raise Conflict(f"{repository}:{tag} {why}")
            done, kept = await see_through(lambda: self._collector.remove_tags(repository, tags)), 0
        else:
            done, kept = await see_through(lambda: self._purge_all(repository))
        self._changed()
        return {**done.to_json(), "tagsKept": kept}

    async def remove(self, repository: RepositoryName, tags: list[Tag]) -> Collected:
        """Take tags away with all that nothing else keeps."""
        done = await see_through(lambda: self._collector.remove_tags(repository, tags))
        self._changed()
        return done

    def _purge_all(self, repository: RepositoryName) -> tuple[Collected, int]:
        done, kept, last = Collected(phase=None), 0, None
        while True:
            page = self._store.registry.list_tags(repository, last, _TAGS)
            going = [
                tag for text in page.items if self._why_not(repository, tag := Tag(text)) is None
            ]
            kept += len(page.items) - len(going)
            done.add(self._collector.remove_tags(repository, going))
            last = page.next
            if last is None:
                break
        if not kept:
            done.add(self._collector.remove_untagged(repository))
        return done, kept

    def _why_not(self, repository: RepositoryName, tag: Tag) -> str | None:
        """Why a tag may not be purged. Runs in a thread."""
        desired = self._desired()
        if tag in self._store.outgoing.tags(repository):
            return "waits to go up to the parent: let it go up first"
        if desired.mode is not Mode.READ_ONLY:
            return None
        rule = desired.scope.rule_for(repository)
        if rule is None or not rule.selects(tag):
            return None
        try:
            self._store.registry.tag_details(repository, limit=1)
        except NameUnknown:
            return None
        return "is in the scope of a ReadOnly replica: take it out of the scope first"
