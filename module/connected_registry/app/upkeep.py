"""What looks after the stored content: collection, verification, room, and when it was pulled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from connected_registry.app.collecting import Collecting
from connected_registry.app.link import Link
from connected_registry.app.store import Store
from connected_registry.app.storing import Storing
from connected_registry.app.thread import see_through
from connected_registry.app.verifying import Verifying
from connected_registry.edge.methods import Operations
from connected_registry.edge.reported import StatusDetail
from connected_registry.edge.telemetry import Event
from connected_registry.edge.twin import Desired
from connected_registry.endpoint.services import Pull
from connected_registry.policy.mode import Mode
from connected_registry.storage.ballast import Ballast
from connected_registry.storage.collection import Collector
from connected_registry.storage.eviction import Evictor
from connected_registry.storage.outgoing import pinned
from connected_registry.storage.pulls import Pulls
from connected_registry.storage.space import Space
from connected_registry.storage.verification import Verifier

PULLS_EVERY: Final = 60.0
"""Seconds between two writings of what was pulled."""


class Upkeep:
    """The parts, made and joined. ``announce`` is told of images that went."""

    def __init__(
        self,
        store: Store,
        link: Callable[[], Link | None],
        desired: Callable[[], Desired],
        *,
        clock: Callable[[], datetime],
        tell: Callable[[Event], None],
        announce: Callable[[str, dict[str, Any]], None],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._ballast = Ballast(store.folder)
        collector = Collector(
            store.folder,
            store.database,
            store.blobs,
            store.registry,
            store.ledger,
            clock=clock,
            protected=self._waiting,
            ballast=self._ballast,
        )
        self._pulls = Pulls(store.database, clock=clock)
        space = Space(
            store.registry.statistics,
            lambda: desired().storage,
            lambda: desired().mode is not Mode.READ_ONLY,
        )
        store.uploads.admit = space.admit_push
        self.collecting = Collecting(store, collector, desired, clock=clock, changed=changed)
        self.verifying = Verifying(
            store,
            Verifier(store.folder, store.database, store.blobs, store.registry, clock=clock),
            link,
            clock=clock,
            tell=tell,
        )
        self.storing = Storing(
            space,
            Evictor(store.database, collector, store.ledger, clock=clock),
            self.collecting,
            desired,
            clock=clock,
            tell=tell,
            announce=announce,
        )

    def operations(self, others: Operations) -> Operations:
        """The same with the methods of upkeep."""
        return replace(
            others,
            collect_garbage=self.collecting.collect_garbage,
            verify_store=self.verifying.verify_store,
            purge=self.collecting.purge,
        )

    def pulled(self, pull: Pull) -> None:
        """Note that an image was pulled."""
        if pull.kind == "manifest":
            self._pulls.note(pull.repository, pull.reference)

    def details(self) -> Iterable[StatusDetail]:
        """What is wrong with the stored content."""
        yield from self.storing.details()
        yield from self.verifying.details()

    async def collect(self) -> None:
        """The job of collecting."""
        await self.collecting.run()

    async def verify(self) -> None:
        """The job of scrubbing and mending."""
        await self.verifying.run()

    async def watch(self) -> None:
        """The job of watching the room, and of writing down pulls."""
        await asyncio.to_thread(self._ballast.take)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.storing.run())
            group.create_task(self._write_pulls())

    async def _write_pulls(self) -> None:
        try:
            while True:
                await asyncio.sleep(PULLS_EVERY)
                await see_through(self._pulls.write)
        finally:
            await asyncio.shield(asyncio.to_thread(self._pulls.write))

    def _waiting(self) -> Collection[str]:
        """Digests that wait to go up."""
        with self._store.database.read() as session:
            return frozenset(digest for _, digest in pinned(session))
