"""Entries of the queue side by side, and those that concern the same thing one after another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.outgoing import Entry, Kind


class Lanes:
    """Order within one pass over the queue; entries are entered in the order of the queue.

    Changes of one tag keep their order, and so do the deletion of a manifest and whatever else is
    done with its digest. An entry whose turn depends on one that did not leave the queue is not
    attempted. ``attempt`` says whether an entry left it.
    """

    def __init__(self, attempt: Callable[[Entry], Awaitable[bool]], concurrency: int) -> None:
        self._attempt = attempt
        self._places = asyncio.Semaphore(concurrency)
        self._tags: dict[tuple[RepositoryName, Tag], asyncio.Task[bool]] = {}
        self._deletions: dict[tuple[RepositoryName, Digest], asyncio.Task[bool]] = {}
        self._uses: defaultdict[tuple[RepositoryName, Digest], list[asyncio.Task[bool]]]
        self._uses = defaultdict(list)

    def enter(self, group: asyncio.TaskGroup, entry: Entry) -> asyncio.Task[bool]:
        """Start an entry's turn; the task tells whether it left the queue."""
        digest = (entry.repository, entry.digest)
        before = [task] if (task := self._deletions.get(digest)) is not None else []
        if entry.kind is Kind.DELETE:
            before += self._uses.pop(digest, [])
        if entry.tag is not None:
            previous = self._tags.get((entry.repository, entry.tag))
            before += [previous] if previous is not None else []
        task = group.create_task(self._turn(entry, before))
        if entry.kind is Kind.DELETE:
            self._deletions[digest] = task
        else:
            self._uses[digest].append(task)
        if entry.tag is not None:
            self._tags[entry.repository, entry.tag] = task
        return task

    async def _turn(self, entry: Entry, before: list[asyncio.Task[bool]]) -> bool:
        for task in before:
            if not await task:
                return False
        async with self._places:
            return await self._attempt(entry)
