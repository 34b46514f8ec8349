"""Reading stored content again: is every file still what its name says?

What is not is moved aside, so that nobody is served with it, and noted until it is whole again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.storage import candidates, disk, rows
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.models import (
    BlobLinkRow,
    BlobRow,
    DamageRow,
    ManifestRow,
    RepositoryRow,
)
from connected_registry.storage.registry import Registry

Fault = Literal["missing", "size", "content", "unreadable"]
Pace = Callable[[int], None]
"""Called with the number of bytes about to be read; may wait, or raise to end the reading."""

PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Item:
    """Content that should be there."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Content that is lost or was not what its digest says."""

    digest: Digest
    size: int
    reason: Fault
    found_at: datetime


def at_once(_size: int) -> None:
    """The pace of whoever is in a hurry."""


class Verifier:
    """Checks the content of one data folder. Synchronous, and safe from any thread."""

    def __init__(
        self,
        folder: DataFolder,
        database: Database,
        blobs: BlobStore,
        registry: Registry,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._quarantine = folder.replica / "quarantine"
        self._database = database
        self._blobs = blobs
        self._registry = registry
        self._clock = clock

    def due(self, cycle: timedelta, limit: int = PAGE) -> list[Item]:
        """What was not verified for ``cycle``, longest ago first."""
        now = self._clock()
        moment = col(BlobRow.verified_at)
        # Two questions, since an index answers each of them and not both at once. A moment in the
        # future comes from a clock that was wrong.
        with self._database.read() as session:
            for overdue in (moment <= now - cycle, moment > now):
                statement = (
                    select(col(BlobRow.digest), col(BlobRow.size))
                    .where(overdue)
                    .order_by(moment)
                    .limit(limit)
                )
                found = [Item(Digest(digest), size) for digest, size in session.execute(statement)]
                if found:
                    return found
        return []

    def page(self, last: str = "", limit: int = PAGE) -> list[Item]:
        """All content in order of digest, after ``last``."""
        with self._database.read() as session:
            return [
                Item(each.digest, each.size)
                for each in candidates.content_after(session, last, limit)
            ]

    def items(self, digests: Iterable[Digest]) -> list[Item]:
        """Those of ``digests`` that should be there."""
        with self._database.read() as session:
            return [
                Item(each.digest, each.size)
                for batch in rows.batches(list(digests))
                for each in candidates.content(session, batch)
            ]

    def oldest(self) -> datetime | None:
        """When what was verified longest ago was; None where nothing is stored."""
        with self._database.read() as session:
            statement = select(func.min(col(BlobRow.verified_at)))
            moment: datetime | None = session.execute(statement).scalar_one()
            return moment

    def check(self, item: Item, pace: Pace = at_once) -> Damage | None:
        """Read it all. What is wrong is moved aside, noted, and served no more."""
        fault, inode = self._fault(item, pace)
        if fault is None:
            return None
        return self._set_aside(item, fault, inode)

    def passed(self, items: Collection[Item]) -> None:
        """Note that content was just found whole, also what was damaged before."""
        now = self._clock()
        for batch in rows.batches([item.digest for item in items]):
            with self._database.write() as session:
                session.execute(
                    update(BlobRow).where(col(BlobRow.digest).in_(batch)).values(verified_at=now)
                )
                session.execute(delete(DamageRow).where(col(DamageRow.digest).in_(batch)))

    def damaged(self) -> list[Damage]:
        """What is damaged and was not replaced yet; what nobody shows any more is forgotten."""
        with self._database.read() as session:
            known = session.execute(select(DamageRow)).scalars().all()
            found = [
                Damage(Digest(row.digest), row.size, _fault(row.reason), row.found_at)
                for row in known
            ]
            wanted = candidates.recorded(session, [each.digest for each in found])
        gone = [Item(each.digest, each.size) for each in found if each.digest not in wanted]
        if gone:
            self.passed(gone)
        return [each for each in found if each.digest in wanted]

    def places(self, digest: Digest) -> tuple[bool, list[RepositoryName]]:
        """Whether it is a manifest, and which repositories show it."""
        shown = (
            select(col(RepositoryRow.name))
            .join(ManifestRow, col(ManifestRow.repository_id) == col(RepositoryRow.id))
            .where(col(ManifestRow.digest) == digest)
        )
        linked = (
            select(col(RepositoryRow.name))
            .join(BlobLinkRow, col(BlobLinkRow.repository_id) == col(RepositoryRow.id))
            .where(col(BlobLinkRow.digest) == digest)
        )
        with self._database.read() as session:
            manifests = [RepositoryName(name) for name in session.execute(shown).scalars()]
            blobs = [RepositoryName(name) for name in session.execute(linked).scalars()]
        return bool(manifests), manifests or blobs

    def _fault(self, item: Item, pace: Pace) -> tuple[Fault | None, int | None]:
        """What is wrong, and the number of the file that was looked at."""
        inode = None
        try:
            inode = os.lstat(self._blobs.path(item.digest)).st_ino
            descriptor = disk.look(self._blobs.path(item.digest))
            try:
                facts = os.fstat(descriptor)
                inode = facts.st_ino
                if facts.st_size != item.size:
                    return "size", inode
                running = item.digest.new_hash()
                for chunk in disk.read_chunks(descriptor):
                    running.update(chunk)
                    pace(len(chunk))
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return "missing", None
        except OSError:
            return "unreadable", inode
        if Digest.from_hash(running) != item.digest:
            return "content", inode
        return None, inode

    def _set_aside(self, item: Item, fault: Fault, inode: int | None) -> Damage | None:
        path = self._blobs.path(item.digest)
        damage = Damage(item.digest, item.size, fault, self._clock())
        with self._database.write() as session:
            if item.digest not in candidates.recorded(session, [item.digest]):
                # Collected meanwhile.
                return None
            with disk.disk_errors(f"cannot set {item.digest} aside"):
                try:
                    now = os.lstat(path).st_ino
                except FileNotFoundError:
                    now = None
                if now != inode:
                    # Somebody has put whole content in its place.
                    return None
                if now is not None:
                    self._quarantine.mkdir(mode=0o700, exist_ok=True)
                    path.replace(self._quarantine / f"{item.digest.algorithm}-{path.name}")
            fresh = insert(DamageRow).values(
                digest=item.digest, size=item.size, reason=fault, found_at=damage.found_at
            )
            session.execute(fresh.on_conflict_do_nothing())
            # It is known now: the scrub goes on with the next.
            session.execute(
                update(BlobRow)
                .where(col(BlobRow.digest) == item.digest)
                .values(verified_at=damage.found_at)
            )
        self._registry.forget_all()
        return damage


def _fault(text: str) -> Fault:
    match text:
        case "missing" | "size" | "content":
            return text
    return "unreadable"
