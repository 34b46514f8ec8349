"""What the registry can list: tags, repositories, referrers, and details for people.

Order is that of bytes, ``last`` is exclusive, and a page is found by an index, never by counting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, TypeVar

from sqlalchemy import Select, func, select
from sqlmodel import Session, col

from connected_registry.oci.digest import Digest
from connected_registry.storage import rows
from connected_registry.storage.content import (
    Item,
    ManifestDetails,
    Page,
    RepositoryStatistics,
    TagDetails,
)
from connected_registry.storage.models import (
    EdgeRow,
    ManifestRow,
    RepositoryRow,
    TagRow,
    TallyRow,
)

Listing = TypeVar("Listing", bound=Select[*tuple[Any, ...]])

_STRIDE: Final = 1000
"""Repositories read at a time while looking for visible ones."""


def list_tags(session: Session, repository: str, last: str | None, limit: int | None) -> Page[str]:
    """Names of the repository's tags after ``last``. `NameUnknown`."""
    repository_id = rows.known_repository(session, repository)
    statement = (
        select(col(TagRow.name))
        .where(col(TagRow.repository_id) == repository_id)
        .order_by(col(TagRow.name))
    )
    found = session.execute(_window(statement, col(TagRow.name), last, limit)).scalars().all()
    return page(list(found), limit, str)


def list_repositories(
    session: Session, last: str | None, limit: int | None, visible: Callable[[str], bool]
) -> Page[str]:
    """Names after ``last`` of the repositories for which ``visible`` is true."""
    found: list[str] = []
    wanted = None if limit is None else limit + 1
    while wanted is None or len(found) < wanted:
        statement = select(col(RepositoryRow.name)).order_by(col(RepositoryRow.name))
        if last is not None:
            statement = statement.where(col(RepositoryRow.name) > last)
        names = session.execute(statement.limit(_STRIDE)).scalars().all()
        found += [name for name in names if visible(name)]
        if len(names) < _STRIDE:
            break
        last = names[-1]
    return page(found if wanted is None else found[:wanted], limit, str)


def list_referrers(
    session: Session, repository: str, subject: Digest, artifact_type: str | None
) -> list[dict[str, Any]]:
    """Descriptors of the manifests whose subject is that digest, itself there or not.

    OCI distribution specification, "Listing Referrers".
    """
    repository_id = rows.find_repository(session, repository)
    if repository_id is None:
        return []
    statement = (
        select(
            col(ManifestRow.media_type),
            col(ManifestRow.digest),
            col(ManifestRow.size),
            col(ManifestRow.artifact_type),
            col(ManifestRow.annotations),
        )
        .where(col(ManifestRow.repository_id) == repository_id, col(ManifestRow.subject) == subject)
        .order_by(col(ManifestRow.digest))
    )
    if artifact_type is not None:
        statement = statement.where(col(ManifestRow.artifact_type) == artifact_type)
    descriptors: list[dict[str, Any]] = []
    for media_type, digest, size, kind, notes in session.execute(statement):
        descriptor: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
        if kind:
            descriptor["artifactType"] = kind
        if notes:
            descriptor["annotations"] = notes
        descriptors.append(descriptor)
    return descriptors


def tag_details(
    session: Session, repository: str, last: str | None, limit: int | None
) -> Page[TagDetails]:
    """The repository's tags after ``last`` with what is known of them. `NameUnknown`."""
    repository_id = rows.known_repository(session, repository)
    statement = (
        select(TagRow, col(ManifestRow.media_type))
        .join(
            ManifestRow,
            (col(ManifestRow.repository_id) == col(TagRow.repository_id))
            & (col(ManifestRow.digest) == col(TagRow.digest)),
        )
        .where(col(TagRow.repository_id) == repository_id)
        .order_by(col(TagRow.name))
    )
    found = [
        TagDetails(
            name=tag.name,
            digest=Digest(tag.digest),
            media_type=media_type,
            created_at=tag.created_at,
            updated_at=tag.updated_at,
            origin="parent" if tag.origin == "parent" else "local",
            confirmed_at=tag.confirmed_at,
        )
        for tag, media_type in session.execute(_window(statement, col(TagRow.name), last, limit))
    ]
    return page(found, limit, lambda details: details.name)


def manifest_details(
    session: Session, repository: str, last: str | None, limit: int | None
) -> Page[ManifestDetails]:
    """The repository's manifests after digest ``last`` with tags and sizes. `NameUnknown`."""
    repository_id = rows.known_repository(session, repository)
    statement = (
        select(
            col(ManifestRow.digest),
            col(ManifestRow.media_type),
            col(ManifestRow.artifact_type),
            col(ManifestRow.size),
            col(ManifestRow.origin),
            col(ManifestRow.pushed_at),
        )
        .where(col(ManifestRow.repository_id) == repository_id)
        .order_by(col(ManifestRow.digest))
    )
    found = session.execute(_window(statement, col(ManifestRow.digest), last, limit)).all()
    digests = [row.digest for row in found]
    sizes: dict[str, int] = {}
    tags: defaultdict[str, list[str]] = defaultdict(list)
    for batch in rows.batches(digests):
        named = (
            select(col(EdgeRow.parent), func.sum(col(EdgeRow.size)))
            .where(col(EdgeRow.parent).in_(batch), col(EdgeRow.kind) != "subject")
            .group_by(col(EdgeRow.parent))
        )
        sizes.update((parent, total) for parent, total in session.execute(named))
        tagged = (
            select(col(TagRow.digest), col(TagRow.name))
            .where(col(TagRow.repository_id) == repository_id, col(TagRow.digest).in_(batch))
            .order_by(col(TagRow.name))
        )
        for digest, name in session.execute(tagged):
            tags[digest].append(name)
    details = [
        ManifestDetails(
            digest=Digest(row.digest),
            media_type=row.media_type,
            artifact_type=row.artifact_type,
            size=row.size,
            image_size=row.size + sizes.get(row.digest, 0),
            origin=row.origin,
            pushed_at=row.pushed_at,
            tags=tuple(tags[row.digest]),
        )
        for row in found
    ]
    return page(details, limit, lambda item: str(item.digest))


def repository_statistics(
    session: Session, last: str | None, limit: int | None
) -> Page[RepositoryStatistics]:
    """What each repository after ``last`` shows."""
    statement = (
        select(
            col(RepositoryRow.name),
            col(TallyRow.tags),
            col(TallyRow.manifests),
            col(TallyRow.blobs),
            col(TallyRow.bytes),
        )
        .join(TallyRow, col(TallyRow.repository_id) == col(RepositoryRow.id))
        .order_by(col(RepositoryRow.name))
    )
    window = _window(statement, col(RepositoryRow.name), last, limit)
    found = [RepositoryStatistics(*row) for row in session.execute(window)]
    return page(found, limit, lambda item: item.name)


def state_digests(session: Session) -> dict[str, Digest]:
    """A digest per repository over the lines ``tag digest`` in byte order."""
    statement = (
        select(col(RepositoryRow.name), col(TagRow.name), col(TagRow.digest))
        .join(TagRow, col(TagRow.repository_id) == col(RepositoryRow.id))
        .order_by(col(RepositoryRow.name), col(TagRow.name))
    )
    running: dict[str, Any] = {}
    for repository, tag, digest in session.execute(statement):
        running.setdefault(repository, sha256()).update(f"{tag} {digest}\n".encode())
    return {name: Digest.from_hash(hashed) for name, hashed in running.items()}


def totals(session: Session) -> tuple[int, int, int, int, int]:
    """Repositories, tags, manifests, blobs and bytes of the whole folder."""
    tally = session.get_one(TallyRow, 0)
    repositories = session.execute(select(func.count()).select_from(RepositoryRow)).scalar_one()
    return repositories, tally.tags, tally.manifests, tally.blobs, tally.bytes


def page(found: list[Item], limit: int | None, key: Callable[[Item], str]) -> Page[Item]:
    """Cut one more than ``limit`` items down to a page; the one more says that there is a next."""
    if limit is None or len(found) <= limit:
        return Page(tuple(found))
    items = tuple(found[:limit])
    return Page(items, key(items[-1]) if items else None)


def _window(statement: Listing, key: Any, last: str | None, limit: int | None) -> Listing:
    if last is not None:
        statement = statement.where(key > last)
    return statement if limit is None else statement.limit(limit + 1)
