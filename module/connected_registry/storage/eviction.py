"""Giving images up to make room: those that nobody pulled for longest, and only such as can be
had again from the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlmodel import col

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.collection import Collector
from connected_registry.storage.database import Database
from connected_registry.storage.ledger import Ledger
from connected_registry.storage.models import (
    ManifestRow,
    ManifestUseRow,
    RepositoryRow,
    TagRow,
)

EVICTED: Final = "evicted"
"""Where the ledger keeps the names of evicted images."""

IDLE: Final = timedelta(days=1)
"""What was fetched or pulled since then is not given up."""

_REMEMBERED: Final = 1000
_PAGE: Final = 50
_IN_VAIN: Final = 5
"""Images in a row that brought nothing, being made of what others need or hold open."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """An image given up, and the bytes that came free with it."""

    repository: RepositoryName
    tag: Tag
    digest: Digest
    bytes: int


class Evictor:
    """Gives up images of one data folder."""

    def __init__(
        self,
        database: Database,
        collector: Collector,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._collector = collector
        self._ledger = ledger
        self._clock = clock

    def evict(self, wanted: int, spared: Collection[str] = ()) -> Iterator[Evicted]:
        """Give up images until ``wanted`` bytes came free or nothing may go; one for each step.

        ``spared`` are images as ``repository:tag``. What was pushed here is never given up.
        """
        freed = in_vain = 0
        tried: set[tuple[str, str]] = set()
        while freed < wanted:
            page = [each for each in self._idle(len(tried)) if (each.name, each.tag) not in tried]
            if not page:
                return
            for row in page:
                tried.add((row.name, row.tag))
                name = f"{row.name}:{row.tag}"
                if name in spared:
                    continue
                repository, tag = RepositoryName(row.name), Tag(row.tag)
                self._remember(name, row.digest)
                gone = self._collector.remove_tags(repository, [tag])
                self._ledger.forget_image(repository, tag)
                freed += gone.bytes
                in_vain = 0 if gone.bytes else in_vain + 1
                yield Evicted(repository, tag, Digest(row.digest), gone.bytes)
                if freed >= wanted or in_vain >= _IN_VAIN:
                    return

    def was_evicted(self, image: str) -> bool:
        """Whether ``repository:tag`` was given up: it comes back only where there is plenty."""
        kept = self._ledger.get(EVICTED)
        return isinstance(kept, dict) and image in kept

    def returned(self, image: str) -> None:
        """Forget that ``repository:tag`` was given up."""
        kept = self._ledger.get(EVICTED)
        if isinstance(kept, dict) and kept.pop(image, None) is not None:
            self._ledger.put(EVICTED, kept)

    def _remember(self, name: str, digest: str) -> None:
        kept = self._ledger.get(EVICTED) or {}
        kept.pop(name, None)
        kept[name] = digest
        while len(kept) > _REMEMBERED:
            del kept[next(iter(kept))]
        self._ledger.put(EVICTED, kept)

    def _idle(self, skipped: int) -> list[Any]:
        """Tags of the parent's images, the one used longest ago first."""
        used = func.coalesce(col(ManifestUseRow.used_at), col(ManifestRow.pushed_at))
        statement: Any = (
            select(
                col(RepositoryRow.name),
                col(TagRow.name).label("tag"),
                col(TagRow.digest),
                used.label("used_at"),
            )
            .join(TagRow, col(TagRow.repository_id) == col(RepositoryRow.id))
            .join(
                ManifestRow,
                (col(ManifestRow.repository_id) == col(TagRow.repository_id))
                & (col(ManifestRow.digest) == col(TagRow.digest)),
            )
            .outerjoin(
                ManifestUseRow,
                (col(ManifestUseRow.repository_id) == col(TagRow.repository_id))
                & (col(ManifestUseRow.digest) == col(TagRow.digest)),
            )
            .where(col(TagRow.origin) == "parent", col(ManifestRow.origin) == "parent")
            .where(used <= self._clock() - IDLE)
            .order_by(used, col(RepositoryRow.name), col(TagRow.name))
            .limit(_PAGE + skipped)
        )
        with self._database.read() as session:
            return list(session.execute(statement))
