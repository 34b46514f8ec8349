"""The sync's memory: what the parent has, what came of it, the runs, and the byte meter."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import uuid4

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col

from connected_registry.errors import StorageError
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.database import Database
from connected_registry.storage.models import ImageStateRow, MeterRow, RunRow, SettingRow

State = Literal["synced", "pending", "failed", "held back"]
RunState = Literal["running", "succeeded", "failed", "stopped", "interrupted"]

_RUNS_KEPT: Final = 1000
_BUCKETS_KEPT: Final = 400


@dataclass(frozen=True, slots=True)
class ImageState:
    """One tag of the parent: the digest it should have here, the one it has, and why they differ.

    ``reason`` is one word for programs, ``detail`` a sentence for people.
    """

    repository: RepositoryName
    tag: Tag
    wanted: Digest | None
    held: Digest | None
    state: State
    reason: str | None = None
    detail: str | None = None
    bytes_missing: int | None = None
    rule_fingerprint: str | None = None
    confirmed_at: datetime | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the sync, under way while ``ended_at`` is unset."""

    correlation_id: str
    trigger: str
    state: RunState
    started_at: datetime
    ended_at: datetime | None = None
    images: int = 0
    failed: int = 0
    bytes_fetched: int = 0
    error: str | None = None


class Ledger:
    """Durable facts about syncing; every call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def images(
        self, repository: RepositoryName | None = None, *, states: Collection[State] | None = None
    ) -> list[ImageState]:
        """What is known, in order of repository and tag."""
        statement = select(ImageStateRow).order_by(
            col(ImageStateRow.repository), col(ImageStateRow.tag)
        )
        if repository is not None:
            statement = statement.where(col(ImageStateRow.repository) == repository)
        if states is not None:
            statement = statement.where(col(ImageStateRow.state).in_(states))
        with self._database.read() as session:
            return [_image(row) for row in session.execute(statement).scalars()]

    def image(self, repository: RepositoryName, tag: Tag) -> ImageState | None:
        """What is known of one tag."""
        with self._database.read() as session:
            row = session.get(ImageStateRow, (repository, tag))
            return None if row is None else _image(row)

    def record_image(self, image: ImageState, now: datetime) -> None:
        """Note one tag's state; see `record_images`."""
        self.record_images([image], now)

    def record_images(self, images: Iterable[ImageState], now: datetime) -> None:
        """Note the states of tags in one transaction.

        ``changed_at`` becomes ``now`` where state, reason or a digest is another than before;
        an unset ``confirmed_at`` leaves the one that is known.
        """
        with self._database.write() as session:
            for image in images:
                values = asdict(image)
                row = session.get(ImageStateRow, (image.repository, image.tag))
                if row is not None:
                    before = (row.wanted, row.held, row.state, row.reason)
                    same = before == (image.wanted, image.held, image.state, image.reason)
                    values["changed_at"] = row.changed_at if same else now
                    values["confirmed_at"] = image.confirmed_at or row.confirmed_at
                else:
                    values["changed_at"] = now
                session.merge(ImageStateRow(**values))

    def forget_image(self, repository: RepositoryName, tag: Tag) -> None:
        """Drop what is known of a tag."""
        with self._database.write() as session:
            session.execute(
                delete(ImageStateRow).where(
                    col(ImageStateRow.repository) == repository, col(ImageStateRow.tag) == tag
                )
            )

    def start_run(self, trigger: str, now: datetime, correlation_id: str | None = None) -> Run:
        """Note that a sync began. Runs a crash left under way become ``interrupted``."""
        run = Run(correlation_id or str(uuid4()), trigger, "running", now)
        with self._database.write() as session:
            left = select(RunRow).where(col(RunRow.ended_at).is_(None))
            for row in session.execute(left).scalars():
                row.state, row.ended_at = "interrupted", now
            session.add(RunRow(**asdict(run)))
            session.flush()
            newest = session.execute(select(func.max(col(RunRow.id)))).scalar_one()
            session.execute(delete(RunRow).where(col(RunRow.id) <= newest - _RUNS_KEPT))
        return run

    def finish_run(
        self,
        correlation_id: str,
        state: RunState,
        now: datetime,
        *,
        images: int = 0,
        failed: int = 0,
        bytes_fetched: int = 0,
        error: str | None = None,
    ) -> Run:
        """Note how a run ended. Raises `StorageError` for one that never began."""
        with self._database.write() as session:
            statement = select(RunRow).where(col(RunRow.correlation_id) == correlation_id)
            row = session.execute(statement).scalar_one_or_none()
            if row is None:
                raise StorageError(f"there is no sync run {correlation_id}")
            row.state, row.ended_at, row.error = state, now, error
            row.images, row.failed, row.bytes_fetched = images, failed, bytes_fetched
            return _run(row)

    def runs(self, limit: int = 20) -> list[Run]:
        """The newest runs, newest first."""
        statement = select(RunRow).order_by(col(RunRow.id).desc()).limit(limit)
        with self._database.read() as session:
            return [_run(row) for row in session.execute(statement).scalars()]

    def last_success(self) -> Run | None:
        """The newest run that succeeded."""
        statement = (
            select(RunRow)
            .where(col(RunRow.state) == "succeeded")
            .order_by(col(RunRow.id).desc())
            .limit(1)
        )
        with self._database.read() as session:
            row = session.execute(statement).scalar_one_or_none()
            return None if row is None else _run(row)

    def meter(self, bucket_start: datetime) -> int:
        """Bytes counted in a bucket."""
        with self._database.read() as session:
            row = session.get(MeterRow, bucket_start)
            return 0 if row is None else row.bytes

    def count_bytes(self, bucket_start: datetime, amount: int) -> int:
        """Add to a bucket and return its new sum. The newest few hundred buckets are kept."""
        fresh = insert(MeterRow).values(bucket_start=bucket_start, bytes=amount)
        statement = fresh.on_conflict_do_update(
            index_elements=["bucket_start"],
            set_={"bytes": MeterRow.__table__.c.bytes + amount},  # type: ignore[attr-defined]
        ).returning(col(MeterRow.bytes))
        with self._database.write() as session:
            total: int = session.execute(statement).scalar_one()
            kept = (
                select(col(MeterRow.bucket_start))
                .order_by(col(MeterRow.bucket_start).desc())
                .limit(_BUCKETS_KEPT)
            )
            session.execute(
                delete(MeterRow).where(
                    col(MeterRow.bucket_start).not_in(kept),
                    # A clock that fell back counts in a bucket older than all that are kept.
                    col(MeterRow.bucket_start) != bucket_start,
                )
            )
        return total

    def get(self, key: str) -> Any:
        """A value kept under ``key``; ``None`` where there is none."""
        with self._database.read() as session:
            row = session.get(SettingRow, key)
            return None if row is None else row.value

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value under ``key``; ``None`` drops it."""
        with self._database.write() as session:
            if value is None:
                session.execute(delete(SettingRow).where(col(SettingRow.key) == key))
                return
            session.execute(
                insert(SettingRow)
                .values(key=key, value=value)
                .on_conflict_do_update(index_elements=["key"], set_={"value": value})
            )


def _image(row: ImageStateRow) -> ImageState:
    values = row.model_dump()
    for name in ("wanted", "held"):
        if values[name] is not None:
            values[name] = Digest(values[name])
    values["repository"] = RepositoryName(row.repository)
    values["tag"] = Tag(row.tag)
    return ImageState(**values)


def _run(row: RunRow) -> Run:
    return Run(**row.model_dump(exclude={"id"}))
