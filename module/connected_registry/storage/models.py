"""The tables. Times are stored as whole microseconds since 1970 UTC and come back aware.

Content is named by digest everywhere; repositories by number, since their names are long. What a
piece of content points to (`EdgeRow`) depends on its bytes alone and is kept once for all
repositories; who may see it is the business of `BlobLinkRow` and `ManifestRow`.
"""

# No `from __future__ import annotations` here: SQLModel reads the annotations at run time.

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects.sqlite import JSON
from sqlalchemy.engine import Dialect
from sqlmodel import Field, SQLModel

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """An aware datetime kept as an integer, so that order and equality are exact."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """An aware UTC datetime."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Row(SQLModel):
    """What all tables share: one catalogue of their own, with predictable constraint names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}


class RepositoryRow(Row, table=True):
    """A repository that has held something at some time."""

    __tablename__ = "repository"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_column=Column(String, nullable=False, unique=True))
    created_at: datetime = Field(sa_type=Moment)


class BlobRow(Row, table=True):
    """Content that is durable in the folder: blobs and manifests, visible somewhere or once so."""

    __tablename__ = "blob"
    __table_args__ = (Index(None, "verified_at"), _CLUSTERED)

    digest: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=Moment)
    verified_at: datetime = Field(sa_type=Moment)


class BlobLinkRow(Row, table=True):
    """That a repository shows a blob."""

    __tablename__ = "blob_link"
    __table_args__ = (Index(None, "digest"), _CLUSTERED)

    repository_id: int = Field(primary_key=True, foreign_key="repository.id")
    digest: str = Field(primary_key=True, foreign_key="blob.digest")
    linked_at: datetime = Field(sa_type=Moment)


class ManifestRow(Row, table=True):
    """That a repository shows a manifest, and what listings say of it."""

    __tablename__ = "manifest"
    __table_args__ = (
        Index(None, "digest"),
        Index(None, "repository_id", "subject", "digest", sqlite_where=text("subject IS NOT NULL")),
    )

    repository_id: int = Field(primary_key=True, foreign_key="repository.id")
    digest: str = Field(primary_key=True, foreign_key="blob.digest")
    media_type: str
    artifact_type: str | None = None
    size: int = Field(sa_type=BigInteger)
    subject: str | None = None
    annotations: dict[str, str] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True), nullable=True)
    )
    """Kept only where there is a subject: only the referrers list shows them."""
    origin: str
    """``local`` (pushed here) or ``parent``."""
    pushed_at: datetime = Field(sa_type=Moment)


class ManifestUseRow(Row, table=True):
    """When a manifest was last pulled, pushed again, or let go by a tag or an index.

    There is none where nothing of that happened since the manifest was first shown.
    """

    __tablename__ = "manifest_use"
    __table_args__ = _CLUSTERED

    repository_id: int = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    used_at: datetime = Field(sa_type=Moment)


class DamageRow(Row, table=True):
    """Content whose file is lost or is not what its digest says, until it is whole again."""

    __tablename__ = "damage"

    digest: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    reason: str
    """``missing``, ``size``, ``content`` or ``unreadable``."""
    found_at: datetime = Field(sa_type=Moment)


class EdgeRow(Row, table=True):
    """That the bytes of one manifest name another piece of content."""

    __tablename__ = "edge"
    __table_args__ = (Index(None, "child"), _CLUSTERED)

    parent: str = Field(primary_key=True)
    position: int = Field(sa_column=Column(Integer, primary_key=True))
    child: str
    kind: str
    """``manifest``, ``config``, ``layer`` or ``subject``."""
    size: int = Field(sa_type=BigInteger)
    platform: str | None = None
    required: bool


class TagRow(Row, table=True):
    """A tag and the manifest it names, which is in the same repository."""

    __tablename__ = "tag"
    __table_args__ = (
        ForeignKeyConstraint(
            ["repository_id", "digest"], ["manifest.repository_id", "manifest.digest"]
        ),
        Index(None, "repository_id", "digest"),
        _CLUSTERED,
    )

    repository_id: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    digest: str
    created_at: datetime = Field(sa_type=Moment)
    updated_at: datetime = Field(sa_type=Moment)
    origin: str
    confirmed_at: datetime | None = Field(default=None, sa_type=Moment)
    """When the parent last said that its tag names this digest."""


class UploadRow(Row, table=True):
    """An upload session; its bytes are the file of the same id."""

    __tablename__ = "upload"

    id: str = Field(primary_key=True)
    repository: str
    owner: str
    algorithm: str | None = None
    created_at: datetime = Field(sa_type=Moment)


class ImageStateRow(Row, table=True):
    """What the sync knows of one tag of the parent."""

    __tablename__ = "image_state"
    __table_args__ = (Index(None, "state"), _CLUSTERED)

    repository: str = Field(primary_key=True)
    tag: str = Field(primary_key=True)
    wanted: str | None = None
    held: str | None = None
    state: str
    reason: str | None = None
    detail: str | None = Field(default=None, sa_type=Text)
    bytes_missing: int | None = Field(default=None, sa_type=BigInteger)
    rule_fingerprint: str | None = None
    confirmed_at: datetime | None = Field(default=None, sa_type=Moment)
    changed_at: datetime = Field(sa_type=Moment)


class RunRow(Row, table=True):
    """One run of the sync."""

    __tablename__ = "run"

    id: int | None = Field(default=None, primary_key=True)
    correlation_id: str = Field(sa_column=Column(String, nullable=False, unique=True))
    trigger: str
    state: str
    started_at: datetime = Field(sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    images: int = 0
    failed: int = 0
    bytes_fetched: int = Field(default=0, sa_type=BigInteger)
    error: str | None = Field(default=None, sa_type=Text)


class MeterRow(Row, table=True):
    """Bytes fetched from the parent in one bucket of a byte budget."""

    __tablename__ = "meter"

    bucket_start: datetime = Field(sa_column=Column(Moment, primary_key=True))
    bytes: int = Field(sa_type=BigInteger)


class SettingRow(Row, table=True):
    """A small value kept for another part, as JSON."""

    __tablename__ = "setting"

    key: str = Field(primary_key=True)
    value: Any = Field(sa_column=Column(JSON, nullable=False))


class OutboxRow(Row, table=True):
    """An event that the hub does not have yet."""

    __tablename__ = "outbox"

    sequence: int | None = Field(default=None, primary_key=True)
    id: str = Field(sa_column=Column(String, nullable=False, unique=True))
    name: str
    severity: str
    body: str = Field(sa_type=Text)
    size: int
    created_at: datetime = Field(sa_type=Moment)


class OutgoingRow(Row, table=True):
    """A change made on site that the parent does not have yet. Numbers give the order."""

    __tablename__ = "outgoing"
    __table_args__ = (Index(None, "repository", "tag"),)

    sequence: int | None = Field(default=None, primary_key=True)
    kind: str
    """``push``, ``untag`` or ``delete``."""
    repository: str
    tag: str | None = None
    digest: str
    queued_at: datetime = Field(sa_type=Moment)
    attempts: int = 0
    reason: str | None = None
    """Why the last attempt failed, in one word."""
    detail: str | None = Field(default=None, sa_type=Text)
    tried_at: datetime | None = Field(default=None, sa_type=Moment)


class SeenTagRow(Row, table=True):
    """What the parent last named by a tag that has changes in the queue; null: nothing."""

    __tablename__ = "seen_tag"
    __table_args__ = (_CLUSTERED,)

    repository: str = Field(primary_key=True)
    tag: str = Field(primary_key=True)
    digest: str | None = None


class TallyRow(Row, table=True):
    """Running totals, kept exact by triggers, so that asking never counts a million rows.

    Row 0 is the whole folder (``bytes``: every durable piece of content once); the others are
    repositories (``bytes``: what each shows).
    """

    __tablename__ = "tally"

    repository_id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    tags: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    manifests: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    blobs: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    bytes: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
