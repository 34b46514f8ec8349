"""What may be garbage, a page at a time, with everything that keeps it found by an index.

Nothing is marked: whether a manifest or a link is kept depends only on what points to it directly,
and what is removed makes what it kept a candidate in turn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Exists, exists, func, select, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.storage.models import (
    BlobLinkRow,
    BlobRow,
    EdgeRow,
    ManifestRow,
    ManifestUseRow,
    RepositoryRow,
    TagRow,
)

Key = tuple[int, str]
"""Number of a repository and digest."""

_BLOBS = ("config", "layer")


@dataclass(frozen=True, slots=True)
class ShownManifest:
    """A manifest of one repository and what there points to it."""

    repository_id: int
    repository: RepositoryName
    digest: Digest
    size: int
    used_at: datetime
    tagged: bool
    inside: bool
    """An index of the repository names it."""
    refers: bool
    """It refers to a manifest of the repository."""

    @property
    def key(self) -> Key:
        """Where the cursor stands."""
        return self.repository_id, self.digest


@dataclass(frozen=True, slots=True)
class ShownBlob:
    """A blob of one repository; ``named``: a manifest there names it."""

    repository_id: int
    repository: RepositoryName
    digest: Digest
    size: int
    linked_at: datetime
    named: bool

    @property
    def key(self) -> Key:
        """Where the cursor stands."""
        return self.repository_id, self.digest


@dataclass(frozen=True, slots=True)
class Content:
    """Durable content; ``shown``: some repository shows it."""

    digest: Digest
    size: int
    created_at: datetime
    shown: bool


def manifests_after(session: Session, last: Key, limit: int) -> list[ShownManifest]:
    """A page of all manifests in order of `ShownManifest.key`."""
    key = tuple_(col(ManifestRow.repository_id), col(ManifestRow.digest))
    statement = (
        _manifests()
        .where(key > tuple_(*last))
        .order_by(col(ManifestRow.repository_id), col(ManifestRow.digest))
        .limit(limit)
    )
    return [_manifest(row) for row in session.execute(statement)]


def manifests(session: Session, keys: Collection[Key]) -> list[ShownManifest]:
    """Those that are still shown."""
    found = []
    for number, digests in _by_repository(keys):
        statement = _manifests().where(
            col(ManifestRow.repository_id) == number, col(ManifestRow.digest).in_(digests)
        )
        found += [_manifest(row) for row in session.execute(statement)]
    return found


def holders(session: Session, repository_id: int, digest: str) -> set[str]:
    """The indexes of the repository that name a manifest, and the manifest it refers to."""
    found = set(session.execute(_naming(repository_id, digest, ("manifest",))).scalars())
    subject = select(col(ManifestRow.subject)).where(
        col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest
    )
    for each in session.execute(subject).scalars():
        if each is not None and manifests(session, [(repository_id, each)]):
            found.add(each)
    return found


def blobs_after(session: Session, last: Key, limit: int) -> list[ShownBlob]:
    """A page of all blobs of all repositories in order of `ShownBlob.key`."""
    key = tuple_(col(BlobLinkRow.repository_id), col(BlobLinkRow.digest))
    statement = (
        _blobs()
        .where(key > tuple_(*last))
        .order_by(col(BlobLinkRow.repository_id), col(BlobLinkRow.digest))
        .limit(limit)
    )
    return [_blob(row) for row in session.execute(statement)]


def blobs(session: Session, keys: Collection[Key]) -> list[ShownBlob]:
    """Those that are still shown."""
    found = []
    for number, digests in _by_repository(keys):
        statement = _blobs().where(
            col(BlobLinkRow.repository_id) == number, col(BlobLinkRow.digest).in_(digests)
        )
        found += [_blob(row) for row in session.execute(statement)]
    return found


def naming(session: Session, repository_id: int, digest: str) -> set[str]:
    """The manifests of the repository that name a blob."""
    return set(session.execute(_naming(repository_id, digest, _BLOBS)).scalars())


def named_by(session: Session, digest: str) -> list[str]:
    """The blobs that a manifest names."""
    statement = select(col(EdgeRow.child)).where(
        col(EdgeRow.parent) == digest, col(EdgeRow.kind).in_(_BLOBS)
    )
    return list(dict.fromkeys(session.execute(statement).scalars()))


def content_after(session: Session, last: str, limit: int) -> list[Content]:
    """A page of all content in order of digest."""
    statement = (
        _content().where(col(BlobRow.digest) > last).order_by(col(BlobRow.digest)).limit(limit)
    )
    return [_durable(row) for row in session.execute(statement)]


def content(session: Session, digests: Collection[str]) -> list[Content]:
    """What is recorded of ``digests``."""
    statement = _content().where(col(BlobRow.digest).in_(list(digests)))
    return [_durable(row) for row in session.execute(statement)]


def showing(session: Session, digest: str) -> set[tuple[str, int]]:
    """``(manifest or blob, repository)`` of every place that shows the content."""
    shown = select(col(ManifestRow.repository_id)).where(col(ManifestRow.digest) == digest)
    linked = select(col(BlobLinkRow.repository_id)).where(col(BlobLinkRow.digest) == digest)
    return {
        *(("manifest", number) for number in session.execute(shown).scalars()),
        *(("blob", number) for number in session.execute(linked).scalars()),
    }


def recorded(session: Session, digests: Sequence[str]) -> set[str]:
    """Those of ``digests`` that the database knows."""
    statement = select(col(BlobRow.digest)).where(col(BlobRow.digest).in_(digests))
    return set(session.execute(statement).scalars())


def _by_repository(keys: Collection[Key]) -> list[tuple[int, list[str]]]:
    """Keys in the one form whose search goes by the index."""
    numbers: dict[int, list[str]] = {}
    for number, digest in keys:
        numbers.setdefault(number, []).append(digest)
    return list(numbers.items())


def _manifests() -> Any:
    index, subject = aliased(ManifestRow), aliased(ManifestRow)
    tagged = exists(col(TagRow.digest)).where(
        col(TagRow.repository_id) == col(ManifestRow.repository_id),
        col(TagRow.digest) == col(ManifestRow.digest),
    )
    inside = exists().where(
        col(EdgeRow.child) == col(ManifestRow.digest),
        col(EdgeRow.kind) == "manifest",
        col(index.digest) == col(EdgeRow.parent),
        col(index.repository_id) == col(ManifestRow.repository_id),
    )
    refers = exists().where(
        col(subject.repository_id) == col(ManifestRow.repository_id),
        col(subject.digest) == col(ManifestRow.subject),
    )
    used = func.coalesce(col(ManifestUseRow.used_at), col(ManifestRow.pushed_at))
    return (
        select(
            col(ManifestRow.repository_id),
            col(RepositoryRow.name),
            col(ManifestRow.digest),
            col(ManifestRow.size),
            used.label("used_at"),
            tagged.label("tagged"),
            inside.label("inside"),
            refers.label("refers"),
        )
        .join(RepositoryRow, col(RepositoryRow.id) == col(ManifestRow.repository_id))
        .outerjoin(
            ManifestUseRow,
            (col(ManifestUseRow.repository_id) == col(ManifestRow.repository_id))
            & (col(ManifestUseRow.digest) == col(ManifestRow.digest)),
        )
    )


def _naming(repository_id: int, digest: str, kinds: Collection[str]) -> Any:
    return (
        select(col(EdgeRow.parent))
        .join(ManifestRow, col(ManifestRow.digest) == col(EdgeRow.parent))
        .where(
            col(EdgeRow.child) == digest,
            col(EdgeRow.kind).in_(kinds),
            col(ManifestRow.repository_id) == repository_id,
        )
    )


def _blobs() -> Any:
    named = exists().where(
        col(EdgeRow.child) == col(BlobLinkRow.digest),
        col(EdgeRow.kind).in_(_BLOBS),
        col(ManifestRow.digest) == col(EdgeRow.parent),
        col(ManifestRow.repository_id) == col(BlobLinkRow.repository_id),
    )
    return (
        select(
            col(BlobLinkRow.repository_id),
            col(RepositoryRow.name),
            col(BlobLinkRow.digest),
            col(BlobRow.size),
            col(BlobLinkRow.linked_at),
            named.label("named"),
        )
        .join(RepositoryRow, col(RepositoryRow.id) == col(BlobLinkRow.repository_id))
        .join(BlobRow, col(BlobRow.digest) == col(BlobLinkRow.digest))
    )


def _content() -> Any:
    shown: Exists = exists().where(col(ManifestRow.digest) == col(BlobRow.digest))
    linked: Exists = exists().where(col(BlobLinkRow.digest) == col(BlobRow.digest))
    return select(
        col(BlobRow.digest),
        col(BlobRow.size),
        col(BlobRow.created_at),
        (shown | linked).label("shown"),
    )


def _manifest(row: Any) -> ShownManifest:
    return ShownManifest(
        row.repository_id,
        RepositoryName(row.name),
        Digest(row.digest),
        row.size,
        row.used_at,
        row.tagged,
        row.inside,
        row.refers,
    )


def _blob(row: Any) -> ShownBlob:
    return ShownBlob(
        row.repository_id,
        RepositoryName(row.name),
        Digest(row.digest),
        row.size,
        row.linked_at,
        row.named,
    )


def _durable(row: Any) -> Content:
    return Content(Digest(row.digest), row.size, row.created_at, row.shown)
