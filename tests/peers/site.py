"""The half of a replica that syncs, put together from the real parts, in a test's own folder.

::

    async with Site(tmp_path, parent.address, rules("team/app")) as site:
        result = await site.sync()
        site.tags("team/app")

Left and entered again it keeps its folder, as a restart does.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from connected_registry.errors import NameUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.admission import Room
from connected_registry.parent.client import Limits, ParentAddress, ParentClient
from connected_registry.parent.occasion import Trigger
from connected_registry.parent.plan import Plan
from connected_registry.parent.result import SyncResult
from connected_registry.parent.sync import Orders, Synchronizer
from connected_registry.parent.uplink import Uplink
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import RepositoryRule, Scope
from connected_registry.policy.sync import SyncPolicy
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.ledger import Ledger
from connected_registry.storage.outgoing import Outgoing
from connected_registry.storage.registry import Registry
from peers.images import Image

HASTY = Limits(connect=2.0, read=5.0, attempts=2, retry_first=0.01, retry_longest=0.05)
"""Limits of a client that does not make a test wait."""


def rules(*names: str, **more: Any) -> Scope:
    """A scope of repositories under equal rules."""
    return Scope(repositories=tuple(RepositoryRule(name=name, **more) for name in names))


class Clock:
    """Now, plus what the test adds."""

    def __init__(self) -> None:
        self.now: datetime | None = None

    def __call__(self) -> datetime:
        """The time."""
        return self.now or datetime.now(UTC)


class Site:
    """``scope``, ``policy`` and ``mode`` may be changed between syncs."""

    def __init__(
        self,
        folder: Path,
        parent: str,
        scope: Scope,
        policy: SyncPolicy | None = None,
        *,
        mode: Mode = Mode.READ_ONLY,
        limits: Limits = HASTY,
        room: Room | None = None,
    ) -> None:
        self.path = folder
        self.parent = parent
        self.scope = scope
        self.policy = policy or SyncPolicy()
        self.mode = mode
        self.limits = limits
        self.room = room
        self.clock = Clock()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        stack = self._stack = AsyncExitStack()
        folder = stack.enter_context(DataFolder.open(self.path))
        database = stack.enter_context(Database(folder.database))
        self.blobs = BlobStore(folder)
        self.outgoing = Outgoing(database, clock=self.clock)
        self.outgoing.recording = self.mode is Mode.READ_WRITE
        self.registry = Registry(
            folder, database, self.blobs, clock=self.clock, outgoing=self.outgoing
        )
        self.ledger = Ledger(database)
        self.client = await stack.enter_async_context(
            ParentClient(
                ParentAddress(self.parent, protocol="http"),
                user_agent="tests",
                limits=self.limits,
            )
        )
        self.synchronizer = Synchronizer(
            self.client,
            self.registry,
            self.blobs,
            self.ledger,
            orders=lambda: Orders(self.scope, self.policy, self.mode),
            clock=self.clock,
            announce=lambda event, facts: self.events.append((event, facts)),
            sleep=lambda _seconds: asyncio.sleep(0.01),
            room=self.room,
        )
        stack.push_async_callback(self.synchronizer.close)
        self.uplink = Uplink(
            self.client,
            self.registry,
            self.outgoing,
            self.ledger,
            orders=lambda: Orders(self.scope, self.policy, self.mode),
            paused=lambda: False,
            meter=self.synchronizer.meter,
            site="plant-1",
            clock=self.clock,
            announce=lambda event, facts: self.events.append((event, facts)),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def sync(self, trigger: str = Trigger.MANUAL, **options: Any) -> SyncResult:
        """One run."""
        return await self.synchronizer.run(trigger, **options)

    async def carry_up(self) -> int:
        """One pass over what waits to go up; how many changes arrived."""
        self.uplink.hurry()
        return await self.uplink.empty_once()

    def told(self, event: str) -> list[dict[str, Any]]:
        """The facts of every announcement of that name."""
        return [facts for name, facts in self.events if name == event]

    async def plan(self, *repositories: str) -> Plan:
        """What a run would do."""
        return await self.synchronizer.plan(repositories or None)

    def push(self, image: Image, repository: str, tag: str | None = None) -> Image:
        """Take an image as if a client had pushed it here; without a tag by digest."""
        name = RepositoryName(repository)
        for each in image.everything():
            for blob in each.blobs:
                self.registry.link_blob(name, self.blobs.put(blob.data), blob.size)
            reference = Tag(tag) if tag and each is image else Digest(each.digest)
            content = each.manifest
            self.registry.put_manifest(name, reference, content.media_type, content.data)
        return image

    def tags(self, repository: str) -> dict[str, str]:
        """Every tag a client sees, with its digest."""
        try:
            page = self.registry.tag_details(RepositoryName(repository))
        except NameUnknown:
            return {}
        assert page.next is None
        return {details.name: details.digest for details in page.items}

    def manifests(self, repository: str) -> set[str]:
        """The digest of every manifest a client may pull."""
        try:
            page = self.registry.manifest_details(RepositoryName(repository))
        except NameUnknown:
            return set()
        assert page.next is None
        return {details.digest for details in page.items}

    def is_whole(self, repository: str, tag: str) -> bool:
        """Whether everything below a tag is here."""
        name = RepositoryName(repository)
        root = self.registry.resolve(name, Tag(tag)).digest
        return self.registry.closure(name, root).complete

    def blob(self, repository: str, digest: str) -> bytes:
        """A blob as a client gets it."""
        stored = self.registry.stat_blob(RepositoryName(repository), Digest(digest))
        return stored.path.read_bytes()
