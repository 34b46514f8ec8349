"""Finding one thing that a repository shows, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, select
from sqlmodel import Session, col

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.models import (
    BlobLinkRow,
    BlobRow,
    EdgeRow,
    ManifestRow,
    RepositoryRow,
    TagRow,
)


def find_manifest(session: Session, repository: str, reference: Tag | Digest) -> Row[Any] | None:
    """Digest, type, size, subject and times of what a tag or digest names there."""
    statement = select(
        col(ManifestRow.digest),
        col(ManifestRow.media_type),
        col(ManifestRow.size),
        col(ManifestRow.subject),
        col(ManifestRow.artifact_type),
        col(ManifestRow.pushed_at),
    ).join(RepositoryRow, col(RepositoryRow.id) == col(ManifestRow.repository_id))
    if isinstance(reference, Digest):
        statement = statement.where(col(ManifestRow.digest) == reference)
    else:
        statement = statement.join(
            TagRow,
            (col(TagRow.repository_id) == col(ManifestRow.repository_id))
            & (col(TagRow.digest) == col(ManifestRow.digest)),
        ).where(col(TagRow.name) == reference)
    statement = statement.where(col(RepositoryRow.name) == repository)
    return session.execute(statement).one_or_none()


def find_artifact(
    session: Session, repository: str, reference: Tag | Digest
) -> tuple[Digest, str, int] | None:
    """Digest, media type and size of a manifest."""
    found = find_manifest(session, repository, reference)
    return None if found is None else (Digest(found.digest), found.media_type, found.size)


def linked_size(session: Session, repository: str, digest: Digest) -> int | None:
    """The size of a blob that the repository shows."""
    statement = (
        select(col(BlobRow.size))
        .join(BlobLinkRow, col(BlobLinkRow.digest) == col(BlobRow.digest))
        .join(RepositoryRow, col(RepositoryRow.id) == col(BlobLinkRow.repository_id))
        .where(col(RepositoryRow.name) == repository, col(BlobRow.digest) == digest)
    )
    return session.execute(statement).scalar_one_or_none()


def shown_in(session: Session, digest: Digest) -> Iterable[tuple[str, int]]:
    """Every repository that shows the blob, with its size."""
    statement = (
        select(col(RepositoryRow.name), col(BlobRow.size))
        .join(BlobLinkRow, col(BlobLinkRow.repository_id) == col(RepositoryRow.id))
        .join(BlobRow, col(BlobRow.digest) == col(BlobLinkRow.digest))
        .where(col(BlobLinkRow.digest) == digest)
    )
    return ((name, size) for name, size in session.execute(statement))


def needing(session: Session, repository_id: int, digest: Digest) -> str | None:
    """A manifest of the repository that is not whole without the blob."""
    statement = (
        select(col(EdgeRow.parent))
        .join(ManifestRow, col(ManifestRow.digest) == col(EdgeRow.parent))
        .where(
            col(EdgeRow.child) == digest,
            col(EdgeRow.required),
            col(ManifestRow.repository_id) == repository_id,
        )
        .limit(1)
    )
    found: str | None = session.execute(statement).scalar_one_or_none()
    return found
