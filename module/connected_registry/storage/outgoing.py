"""What was pushed, untagged and deleted on site and is not at the parent yet, in order.

An entry is made in the transaction that makes the change itself visible, so that whatever a client
was told is done is also on its way up, over kills and weeks without a link. Nothing leaves the
queue but by `Outgoing.finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage import rows
from connected_registry.storage.content import Page
from connected_registry.storage.database import Database
from connected_registry.storage.models import (
    BlobLinkRow,
    OutgoingRow,
    RepositoryRow,
    SeenTagRow,
    TagRow,
)


class Kind(StrEnum):
    """What happened on site."""

    PUSH = "push"
    """A manifest was pushed, by the tag of the entry, or by digest where it has none."""
    UNTAG = "untag"
    """A tag that named the digest was taken away."""
    DELETE = "delete"
    """A manifest was deleted; entries for the tags that named it follow."""


class Outcome(StrEnum):
    """How an entry ended."""

    ARRIVED = "arrived"
    """The parent has it."""
    LOST = "lost"
    """The parent keeps its own; the next sync brings that here."""
    APART = "apart"
    """Each side keeps its own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change that waits. ``reason`` (a word) and ``detail`` tell of the last failed attempt."""

    sequence: int
    kind: Kind
    repository: RepositoryName
    tag: Tag | None
    digest: Digest
    queued_at: datetime
    attempts: int = 0
    reason: str | None = None
    detail: str | None = None
    tried_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.repository}{f':{self.tag}' if self.tag else f'@{self.digest}'}"

    def is_failed(self, now: datetime, message_ttl: timedelta) -> bool:
        """Whether it is reported failed: refused by itself, or kept waiting for too long."""
        return self.reason is not None or now - self.queued_at > message_ttl


@dataclass(frozen=True, slots=True)
class Waiting:
    """The queue in figures. Failed entries are not among the waiting ones, and still tried."""

    waiting: int = 0
    failed: int = 0
    oldest: datetime | None = None


class Outgoing:
    """The queue. Synchronous and thread-safe, as the registry is.

    While ``recording`` is false, nothing new enters: there is no parent, or it takes no pushes.
    ``wake`` is told, in whichever thread, that there is something new.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.recording = False
        self.wake: Callable[[], None] = lambda: None

    # In the caller's transaction, before it changes what it tells of.

    def pushed(
        self, session: Session, repository: RepositoryName, digest: Digest, tags: Collection[Tag]
    ) -> None:
        """Note a push of a manifest under ``tags``, or by digest alone.

        A push that changes nothing and is no news to the parent is none.
        """
        if not self.recording:
            return
        for tag in tags:
            row = _tag_row(session, repository, tag)
            last = _last(session, repository, tag)
            if row is not None and row.digest == digest:
                if row.origin == "parent" and last is None:
                    continue
                if last is not None and (last.kind, last.digest) == (Kind.PUSH, digest):
                    continue
            self._add(session, Kind.PUSH, repository, tag, digest, row)
            # It brings along what was pushed by digest before.
            session.execute(
                delete(OutgoingRow).where(
                    col(OutgoingRow.repository) == repository,
                    col(OutgoingRow.digest) == digest,
                    col(OutgoingRow.kind) == Kind.PUSH,
                    col(OutgoingRow.tag).is_(None),
                )
            )
        if not tags:
            queued = exists().where(
                col(OutgoingRow.repository) == repository, col(OutgoingRow.digest) == digest
            )
            if not session.execute(select(queued)).scalar():
                self._add(session, Kind.PUSH, repository, None, digest, None)

    def untagged(self, session: Session, repository: RepositoryName, tag: Tag) -> None:
        """Note that a tag is taken away, which must still be there."""
        row = _tag_row(session, repository, tag)
        if self.recording and row is not None:
            self._add(session, Kind.UNTAG, repository, tag, Digest(row.digest), row)

    def deleted(self, session: Session, repository: RepositoryName, digest: Digest) -> None:
        """Note that a manifest goes with the tags that name it, which must still be there."""
        if not self.recording:
            return
        self._add(session, Kind.DELETE, repository, None, digest, None)
        statement = (
            select(TagRow)
            .join(RepositoryRow, col(RepositoryRow.id) == col(TagRow.repository_id))
            .where(col(RepositoryRow.name) == repository, col(TagRow.digest) == digest)
        )
        for row in session.execute(statement).scalars().all():
            self._add(session, Kind.UNTAG, repository, Tag(row.name), digest, row)

    def waiting_tags(
        self, session: Session, repository: RepositoryName, tags: Collection[Tag]
    ) -> frozenset[Tag]:
        """Those of ``tags`` that have changes in the queue: no sync may touch them."""
        found: set[Tag] = set()
        for batch in rows.batches(tags):
            statement = select(col(OutgoingRow.tag)).where(
                col(OutgoingRow.repository) == repository, col(OutgoingRow.tag).in_(batch)
            )
            found.update(Tag(tag) for tag in session.execute(statement).scalars())
        return frozenset(found)

    # On their own.

    def tags(self, repository: RepositoryName) -> frozenset[Tag]:
        """Every tag of the repository that has changes in the queue."""
        statement = select(col(OutgoingRow.tag)).where(
            col(OutgoingRow.repository) == repository, col(OutgoingRow.tag).is_not(None)
        )
        with self._database.read() as session:
            return frozenset(Tag(tag) for tag in session.execute(statement).scalars())

    def __len__(self) -> int:
        with self._database.read() as session:
            count: int = session.execute(select(func.count(col(OutgoingRow.sequence)))).scalar_one()
            return count

    def page(self, after: int = 0, limit: int = 100) -> Page[Entry]:
        """Entries in order; ``next`` is the ``after`` to go on with."""
        statement = (
            select(OutgoingRow)
            .where(col(OutgoingRow.sequence) > after)
            .order_by(col(OutgoingRow.sequence))
            .limit(limit + 1)
        )
        with self._database.read() as session:
            found = [_entry(row) for row in session.execute(statement).scalars()]
        more = len(found) > limit
        return Page(tuple(found[:limit]), str(found[limit - 1].sequence) if more else None)

    def figures(self, message_ttl: timedelta) -> Waiting:
        """How many wait, have failed, and since when the oldest is here."""
        overdue = self._clock() - message_ttl
        failed = or_(col(OutgoingRow.reason).is_not(None), col(OutgoingRow.queued_at) < overdue)
        statement = select(
            func.count(col(OutgoingRow.sequence)),
            func.count(col(OutgoingRow.sequence)).filter(failed),
            func.min(col(OutgoingRow.queued_at)),
        )
        with self._database.read() as session:
            total, bad, oldest = session.execute(statement).one()
        return Waiting(total - bad, bad, oldest)

    def first_failed(self, message_ttl: timedelta) -> Entry | None:
        """The oldest entry that is reported failed."""
        overdue = self._clock() - message_ttl
        failed = or_(col(OutgoingRow.reason).is_not(None), col(OutgoingRow.queued_at) < overdue)
        statement = select(OutgoingRow).where(failed).order_by(col(OutgoingRow.sequence)).limit(1)
        with self._database.read() as session:
            row = session.execute(statement).scalar_one_or_none()
            return None if row is None else _entry(row)

    def seen(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """What the parent last named by a tag that has changes in the queue."""
        with self._database.read() as session:
            row = session.get(SeenTagRow, (repository, tag))
            return None if row is None or row.digest is None else Digest(row.digest)

    def repositories_with(self, digest: Digest, limit: int = 20) -> list[RepositoryName]:
        """Repositories that show a blob, where the parent may therefore have it too."""
        statement = (
            select(col(RepositoryRow.name))
            .join(BlobLinkRow, col(BlobLinkRow.repository_id) == col(RepositoryRow.id))
            .where(col(BlobLinkRow.digest) == digest)
            .limit(limit)
        )
        with self._database.read() as session:
            return [RepositoryName(name) for name in session.execute(statement).scalars()]

    def is_overtaken(self, entry: Entry) -> bool:
        """Whether the manifest of a push was deleted again on site, which is in the queue too."""
        statement = select(
            exists().where(
                col(OutgoingRow.repository) == entry.repository,
                col(OutgoingRow.digest) == entry.digest,
                col(OutgoingRow.kind) == Kind.DELETE,
                col(OutgoingRow.sequence) > entry.sequence,
            )
        )
        with self._database.read() as session:
            return bool(session.execute(statement).scalar())

    def fail(self, entry: Entry, reason: str, detail: str) -> None:
        """Note that an attempt failed by the entry's own fault; it stays where it is."""
        with self._database.write() as session:
            session.execute(
                update(OutgoingRow)
                .where(col(OutgoingRow.sequence) == entry.sequence)
                .values(
                    attempts=entry.attempts + 1,
                    reason=reason,
                    detail=detail[:1000],
                    tried_at=self._clock(),
                )
            )

    def finish(self, entry: Entry, outcome: Outcome) -> None:
        """Take an entry out, and let the tag follow what came of it once it was the tag's last."""
        with self._database.write() as session:
            session.execute(delete(OutgoingRow).where(col(OutgoingRow.sequence) == entry.sequence))
            if entry.tag is None:
                return
            seen = (
                col(SeenTagRow.repository) == entry.repository,
                col(SeenTagRow.tag) == entry.tag,
            )
            if _last(session, entry.repository, entry.tag) is not None:
                if outcome is Outcome.ARRIVED:
                    digest = entry.digest if entry.kind is Kind.PUSH else None
                    session.execute(update(SeenTagRow).where(*seen).values(digest=digest))
                return
            session.execute(delete(SeenTagRow).where(*seen))
            number = rows.find_repository(session, entry.repository)
            if number is None or entry.kind is not Kind.PUSH:
                return
            if outcome is Outcome.ARRIVED:
                rows.confirm_tag(session, number, entry.tag, entry.digest, self._clock())
            elif outcome is Outcome.LOST:
                session.execute(
                    update(TagRow)
                    .where(
                        col(TagRow.repository_id) == number,
                        col(TagRow.name) == entry.tag,
                        col(TagRow.digest) == entry.digest,
                    )
                    .values(origin="parent", confirmed_at=None)
                )

    def _add(
        self,
        session: Session,
        kind: Kind,
        repository: RepositoryName,
        tag: Tag | None,
        digest: Digest,
        row: TagRow | None,
    ) -> None:
        """Append an entry; the first of a tag notes what the parent was last seen to have."""
        if tag is not None and _last(session, repository, tag) is None:
            known = row.digest if row is not None and row.origin == "parent" else None
            fresh = insert(SeenTagRow).values(repository=repository, tag=tag, digest=known)
            session.execute(
                fresh.on_conflict_do_update(
                    index_elements=["repository", "tag"], set_={"digest": known}
                )
            )
        session.execute(
            insert(OutgoingRow).values(
                kind=kind,
                repository=repository,
                tag=tag,
                digest=digest,
                queued_at=self._clock(),
                attempts=0,
            )
        )


def pinned(session: Session) -> Iterable[tuple[str, Digest]]:
    """Repository and digest of every manifest that waits to go up: not to be collected."""
    statement = (
        select(col(OutgoingRow.repository), col(OutgoingRow.digest))
        .where(col(OutgoingRow.kind) == Kind.PUSH)
        .distinct()
    )
    return [(repository, Digest(digest)) for repository, digest in session.execute(statement)]


def _tag_row(session: Session, repository: str, tag: str) -> TagRow | None:
    number = rows.find_repository(session, repository)
    return None if number is None else session.get(TagRow, (number, tag))


def _last(session: Session, repository: str, tag: str) -> OutgoingRow | None:
    statement = (
        select(OutgoingRow)
        .where(col(OutgoingRow.repository) == repository, col(OutgoingRow.tag) == tag)
        .order_by(col(OutgoingRow.sequence).desc())
        .limit(1)
    )
    return session.execute(statement).scalar_one_or_none()


def _entry(row: OutgoingRow) -> Entry:
    assert row.sequence is not None
    return Entry(
        sequence=row.sequence,
        kind=Kind(row.kind),
        repository=RepositoryName(row.repository),
        tag=None if row.tag is None else Tag(row.tag),
        digest=Digest(row.digest),
        queued_at=row.queued_at,
        attempts=row.attempts,
        reason=row.reason,
        detail=row.detail,
        tried_at=row.tried_at,
    )
