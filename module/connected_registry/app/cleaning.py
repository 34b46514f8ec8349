"""Taking away repositories that left the scope, on a ReadOnly replica."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from connected_registry.app.store import Store
from connected_registry.edge.twin import Desired
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.mode import Mode

_log = structlog.stdlib.get_logger(__name__)

Remove = Callable[[RepositoryName, list[Tag]], Awaitable[Any]]


class Cleaning:
    """Removes what came from the parent and no rule names any more. ``remove`` takes tags away.

    An empty scope, and a removal of more than ``maxDeletePercent`` of all tags, may be a mistake:
    then everything stays, and ``purge`` is for who means it.
    """

    def __init__(self, store: Store, desired: Callable[[], Desired], remove: Remove) -> None:
        self._store = store
        self._desired = desired
        self._remove = remove
        self._told: tuple[RepositoryName, ...] = ()
        self._due = asyncio.Event()

    def synced(self) -> None:
        """Note that a sync succeeded: the parent is there and the scope is what is meant."""
        self._due.set()

    async def run(self) -> None:
        """Clean after each sync that succeeds, for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self.clean()

    async def clean(self) -> int:
        """Do it now; how many tags went."""
        desired = self._desired()
        if desired.mode is not Mode.READ_ONLY or not desired.scope.repositories:
            return 0
        leaving = await asyncio.to_thread(self._leaving, desired)
        count = sum(map(len, leaving.values()))
        if not count:
            return 0
        total = (await asyncio.to_thread(self._store.registry.statistics)).tags
        if count > 1 and count * 100 > desired.sync.max_delete_percent * total:
            if self._told != tuple(leaving):
                self._told = tuple(leaving)
                _log.warning("cleaning.held_back", tags=count, of=total, repositories=len(leaving))
            return 0
        for repository, tags in leaving.items():
            await self._remove(repository, tags)
            _log.info("cleaning.removed", repository=repository, tags=len(tags))
        return count

    def _leaving(self, desired: Desired) -> dict[RepositoryName, list[Tag]]:
        """Tags of the parent's by repository. Runs in a thread."""
        registry, scope = self._store.registry, desired.scope
        page = registry.list_repositories(visible=lambda name: scope.rule_for(name) is None)
        found: dict[RepositoryName, list[Tag]] = {}
        for name in map(RepositoryName, page.items):
            waiting = registry.waiting_tags(name)
            tags = [
                Tag(each.name)
                for each in registry.tag_details(name).items
                if each.origin == "parent" and each.name not in waiting
            ]
            if tags:
                found[name] = tags
        return found
