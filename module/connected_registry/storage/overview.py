"""Sums over the sync's memory and the tags, for people who look at the site as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlmodel import col

from connected_registry.storage.database import Database
from connected_registry.storage.ledger import ImageState, Ledger
from connected_registry.storage.models import ImageStateRow, RepositoryRow, TagRow

MISSING = ("pending", "failed")
"""States of images that are not here as they should be."""


@dataclass(frozen=True, slots=True)
class RepositoryOverview:
    """One repository: how many of its tags the sync knows, and how many of those differ."""

    known: int = 0
    waiting: int = 0
    held_back: int = 0
    changed_at: datetime | None = None
    """When a tag here was last made or moved."""


class Overview:
    """Counts in the database, so that a site with very many tags can be looked at often."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    def repositories(self) -> dict[str, RepositoryOverview]:
        """By name: every repository that the sync knows or that has a tag."""
        state = col(ImageStateRow.state)
        known = select(
            col(ImageStateRow.repository),
            func.count(),
            func.sum(case((state.in_(MISSING), 1), else_=0)),
            func.sum(case((state == "held back", 1), else_=0)),
        ).group_by(col(ImageStateRow.repository))
        changed = (
            select(col(RepositoryRow.name), func.max(col(TagRow.updated_at)))
            .join(TagRow, col(TagRow.repository_id) == col(RepositoryRow.id))
            .group_by(col(RepositoryRow.name))
        )
        with self._database.read() as session:
            times = {name: at for name, at in session.execute(changed)}  # noqa: C416 - typed rows
            found = {
                name: RepositoryOverview(count, waiting, held_back, times.pop(name, None))
                for name, count, waiting, held_back in session.execute(known)
            }
        found.update((name, RepositoryOverview(changed_at=at)) for name, at in times.items())
        return found

    def missing(self, limit: int) -> tuple[list[ImageState], int]:
        """The first images that are not here as they should be, and how many there are."""
        state = col(ImageStateRow.state)
        counted = select(func.count()).select_from(ImageStateRow).where(state.in_(MISSING))
        first = (
            select(col(ImageStateRow.repository), col(ImageStateRow.tag))
            .where(state.in_(MISSING))
            .order_by(state, col(ImageStateRow.repository), col(ImageStateRow.tag))
            .limit(limit)
        )
        with self._database.read() as session:
            total: int = session.execute(counted).scalar_one()
            names = session.execute(first).all()
        images = (self._ledger.image(repository, tag) for repository, tag in names)
        return [image for image in images if image is not None], total
