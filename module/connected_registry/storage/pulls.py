"""When images were last pulled: gathered in memory, written once in a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlmodel import col

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage import rows
from connected_registry.storage.database import Database
from connected_registry.storage.models import ManifestUseRow, TagRow

COARSE: Final = timedelta(hours=1)
"""A pull so soon after the last one that was written is not written: flash wears out."""

_MOST: Final = 50_000


class Pulls:
    """Notes pulls of one data folder. What a crash loses is an hour at most."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._pulled: set[tuple[RepositoryName, Tag | Digest]] = set()

    def note(self, repository: RepositoryName, reference: Tag | Digest) -> None:
        """Remember a pull. Touches no disk."""
        with self._lock:
            if len(self._pulled) < _MOST:
                self._pulled.add((repository, reference))

    def write(self) -> int:
        """Write down what was pulled since the last time; how many manifests that were."""
        with self._lock:
            pulled, self._pulled = self._pulled, set()
        if not pulled:
            return 0
        now = self._clock()
        with self._database.read() as session:
            fresh = set()
            for repository, reference in pulled:
                number = rows.find_repository(session, repository)
                if number is None:
                    continue
                digest: str | None = reference
                if not isinstance(reference, Digest):
                    tagged = select(col(TagRow.digest)).where(
                        col(TagRow.repository_id) == number, col(TagRow.name) == reference
                    )
                    digest = session.execute(tagged).scalar_one_or_none()
                if digest is None:
                    continue
                used = session.get(ManifestUseRow, (number, digest))
                if used is None or not now - COARSE < used.used_at <= now:
                    fresh.add((number, digest))
        for batch in _pages(sorted(fresh)):
            with self._database.write() as session:
                rows.note_use(session, batch, now)
        return len(fresh)


def _pages(items: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    return [items[start : start + 500] for start in range(0, len(items), 500)]
