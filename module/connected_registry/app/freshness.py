"""When the parent last confirmed each tag, for clients that pull."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from connected_registry.app.link import Link
from connected_registry.endpoint.freshness import TagFreshness
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.ledger import ImageState, Ledger

_REMEMBERED: Final = 20_000
_REMEMBERED_FOR: Final = 60.0
"""Seconds; also dropped whenever a sync has news."""


class _Known(NamedTuple):
    until: float
    listed_at: datetime | None
    image: ImageState | None


class TagsOfParent:
    """The ledger's answers, kept for a minute; the moment of the last listing is always new."""

    def __init__(self, ledger: Ledger, link: Callable[[], Link | None]) -> None:
        self._ledger = ledger
        self._link = link
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    def forget(self) -> None:
        """Look again: something has changed."""
        self._known.clear()

    def recall(self, repository: RepositoryName, tag: Tag) -> tuple[TagFreshness | None] | None:
        """What `of` would answer without asking the ledger; else None."""
        found, listed = self._known.get((repository, tag)), self._listed_at(repository)
        if found is None or found.listed_at != listed or time.monotonic() >= found.until:
            return None
        return (self._judge(found.image, listed) if found.image is not None else None,)

    async def of(self, repository: RepositoryName, tag: Tag) -> TagFreshness | None:
        """One tag; None for one that the parent is not known to have."""
        key = (repository, tag)
        found, listed = self._known.get(key), self._listed_at(repository)
        if found is None or found.listed_at != listed or time.monotonic() >= found.until:
            # The ledger is written before the listing's moment is known, so that a tag which the
            # parent has just moved is never called confirmed.
            image = await asyncio.to_thread(self._ledger.image, repository, tag)
            found = _Known(time.monotonic() + _REMEMBERED_FOR, listed, image)
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._judge(found.image, listed) if found.image is not None else None

    def listing(self, repository: RepositoryName) -> Mapping[str, TagFreshness]:
        """All tags of a repository that the sync knows. Reads the database."""
        listed = self._listed_at(repository)
        return {image.tag: self._judge(image, listed) for image in self._ledger.images(repository)}

    @staticmethod
    def _judge(image: ImageState, listed: datetime | None) -> TagFreshness:
        # A note in place of a plain "synced" says that the parent's list had something else.
        in_sync = image.state == "synced" and image.reason is None
        moments = [image.confirmed_at, listed if in_sync else None]
        return TagFreshness(in_sync, max(filter(None, moments), default=None))

    def _listed_at(self, repository: str) -> datetime | None:
        link = self._link()
        if link is None:
            return None
        return link.synchronizer.memory.repository(repository).listed_at
