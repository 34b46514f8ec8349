"""Statements that more than one use case makes, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import delete, exists, literal, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col

from connected_registry.errors import (
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Descriptor, Manifest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import Origin
from connected_registry.storage.models import (
    BlobLinkRow,
    BlobRow,
    EdgeRow,
    ManifestRow,
    ManifestUseRow,
    Moment,
    RepositoryRow,
    TagRow,
)

_DERIVED: Final = ("artifact_type", "subject", "annotations")
"""What another media type can read out of the same bytes."""

_VARIABLES: Final = 500
"""Values named in one ``IN (...)``."""


def batches(items: Collection[str]) -> Iterator[list[str]]:
    """``items`` in lists short enough for one statement."""
    rest = iter(items)
    while batch := list(islice(rest, _VARIABLES)):
        yield batch


def find_repository(session: Session, name: str) -> int | None:
    """The repository's number, ``None`` where there never was one."""
    statement = select(col(RepositoryRow.id)).where(col(RepositoryRow.name) == name)
    return session.execute(statement).scalar_one_or_none()


def known_repository(session: Session, name: str) -> int:
    """The repository's number, or `NameUnknown`."""
    number = find_repository(session, name)
    if number is None:
        raise NameUnknown(detail={"name": name})
    return number


def make_repository(session: Session, name: RepositoryName, now: datetime) -> int:
    """The repository's number, a new one where there was none."""
    session.execute(
        insert(RepositoryRow).values(name=name, created_at=now).on_conflict_do_nothing()
    )
    return known_repository(session, name)


def record_content(session: Session, digest: Digest, size: int, now: datetime) -> None:
    """Note that the content is durable in the folder and was verified just now."""
    session.execute(
        insert(BlobRow)
        .values(digest=digest, size=size, created_at=now, verified_at=now)
        .on_conflict_do_update(index_elements=["digest"], set_={"size": size, "verified_at": now})
    )


def link_blob(
    session: Session, repository_id: int, digest: Digest, size: int, now: datetime
) -> None:
    """Show stored content as a blob of the repository."""
    record_content(session, digest, size, now)
    session.execute(
        insert(BlobLinkRow)
        .values(repository_id=repository_id, digest=digest, linked_at=now)
        .on_conflict_do_nothing()
    )


def linked_sizes(session: Session, repository_id: int, digests: Collection[str]) -> dict[str, int]:
    """Sizes of those of ``digests`` that are blobs of the repository."""
    found: dict[str, int] = {}
    for batch in batches(digests):
        statement = (
            select(col(BlobLinkRow.digest), col(BlobRow.size))
            .join(BlobRow, col(BlobRow.digest) == col(BlobLinkRow.digest))
            .where(
                col(BlobLinkRow.repository_id) == repository_id,
                col(BlobLinkRow.digest).in_(batch),
            )
        )
        found.update((digest, size) for digest, size in session.execute(statement))
    return found


def manifest_sizes(
    session: Session, repository_id: int, digests: Collection[str]
) -> dict[str, int]:
    """Sizes of those of ``digests`` that are manifests of the repository."""
    found: dict[str, int] = {}
    for batch in batches(digests):
        statement = select(col(ManifestRow.digest), col(ManifestRow.size)).where(
            col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest).in_(batch)
        )
        found.update((digest, size) for digest, size in session.execute(statement))
    return found


def check_references(
    session: Session, repository_id: int | None, manifest: Manifest, *, sparse: bool = False
) -> None:
    """Raise unless the repository shows every blob the manifest needs, in the size it states.

    `ManifestBlobUnknown` names what is not there, unless ``sparse``; a wrong size, also of a child
    manifest that is there, is `ManifestInvalid`. Missing children are allowed: a sparse index.
    """
    required = {descriptor.digest for descriptor in manifest.blobs}
    children = {descriptor.digest for descriptor in manifest.children}
    linked: dict[str, int] = {}
    present: dict[str, int] = {}
    if repository_id is not None:
        linked = linked_sizes(session, repository_id, required)
        present = manifest_sizes(session, repository_id, children)
    missing = sorted(required - linked.keys())
    if missing and not sparse:
        raise ManifestBlobUnknown(
            f"the repository does not hold {missing[0]}, which the manifest names",
            detail=[{"digest": digest} for digest in missing[:100]],
        )
    for descriptor in (*manifest.blobs, *manifest.children):
        size = linked.get(descriptor.digest, present.get(descriptor.digest))
        if size is not None and size != descriptor.size:
            raise ManifestInvalid(
                f"the manifest says that {descriptor.digest} has {descriptor.size} bytes; "
                f"it has {size}",
                detail={"digest": descriptor.digest, "size": descriptor.size},
            )


def add_manifest(
    session: Session,
    repository_id: int,
    digest: Digest,
    manifest: Manifest,
    origin: Origin,
    now: datetime,
) -> datetime:
    """Show a stored manifest in the repository, and return since when it is shown there."""
    record_content(session, digest, manifest.size, now)
    subject = manifest.subject
    values = {
        "repository_id": repository_id,
        "digest": digest,
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "size": manifest.size,
        "subject": None if subject is None else subject.digest,
        "annotations": None if subject is None else dict(manifest.annotations),
        "origin": origin,
        "pushed_at": now,
    }
    session.execute(
        insert(ManifestRow)
        .values(values)
        .on_conflict_do_update(
            index_elements=["repository_id", "digest"],
            set_={name: values[name] for name in ("media_type", *_DERIVED)},
        )
    )
    note_use(session, [(repository_id, digest)], now)
    if edges := _edges(digest, manifest):
        session.execute(insert(EdgeRow).on_conflict_do_nothing(), edges)
    statement = select(col(ManifestRow.pushed_at)).where(
        col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest
    )
    pushed_at: datetime = session.execute(statement).scalar_one()
    return pushed_at


def _edges(digest: Digest, manifest: Manifest) -> list[dict[str, object]]:
    required = {descriptor.digest for descriptor in manifest.blobs}
    named: list[tuple[str, Descriptor]] = [("manifest", child) for child in manifest.children]
    if manifest.config is not None:
        named.append(("config", manifest.config))
    named += [("layer", layer) for layer in manifest.layers]
    if manifest.subject is not None:
        named.append(("subject", manifest.subject))
    return [
        {
            "parent": digest,
            "position": position,
            "child": descriptor.digest,
            "kind": kind,
            "size": descriptor.size,
            "platform": None if descriptor.platform is None else str(descriptor.platform),
            "required": kind == "manifest"
            or (kind in ("config", "layer") and descriptor.digest in required),
        }
        for position, (kind, descriptor) in enumerate(named)
    ]


def note_use(session: Session, manifests: Collection[tuple[int, str]], now: datetime) -> None:
    """Note that manifests were pulled, pushed again or let go, those long shown only."""
    for repository_id, digest in manifests:
        shown = select(
            col(ManifestRow.repository_id), col(ManifestRow.digest), literal(now, Moment)
        ).where(
            col(ManifestRow.repository_id) == repository_id,
            col(ManifestRow.digest) == digest,
            col(ManifestRow.pushed_at) != now,
        )
        fresh = insert(ManifestUseRow).from_select(["repository_id", "digest", "used_at"], shown)
        session.execute(
            fresh.on_conflict_do_update(
                index_elements=["repository_id", "digest"], set_={"used_at": now}
            )
        )


def let_go(session: Session, repository_id: int, tags: Collection[str], now: datetime) -> None:
    """Note that ``tags`` are about to name other manifests, or none."""
    statement = select(col(TagRow.digest)).where(
        col(TagRow.repository_id) == repository_id, col(TagRow.name).in_(tags)
    )
    named = session.execute(statement).scalars().all()
    note_use(session, [(repository_id, digest) for digest in named], now)


def remove_tags(session: Session, repository_id: int, tags: Collection[str]) -> list[str]:
    """Forget tags; the manifests they named."""
    statement = delete(TagRow).where(
        col(TagRow.repository_id) == repository_id, col(TagRow.name).in_(tags)
    )
    named = session.execute(statement.returning(col(TagRow.digest))).scalars()
    return list(dict.fromkeys(named))


def below(session: Session, repository_id: int, digest: str) -> list[str]:
    """The manifests of the repository that this one may keep: its children and its referrers."""
    children = (
        select(col(EdgeRow.child))
        .join(
            ManifestRow,
            (col(ManifestRow.digest) == col(EdgeRow.child))
            & (col(ManifestRow.repository_id) == repository_id),
        )
        .where(col(EdgeRow.parent) == digest, col(EdgeRow.kind) == "manifest")
    )
    referrers = select(col(ManifestRow.digest)).where(
        col(ManifestRow.repository_id) == repository_id, col(ManifestRow.subject) == digest
    )
    found = [*session.execute(children).scalars(), *session.execute(referrers).scalars()]
    return list(dict.fromkeys(found))


def remove_manifest(
    session: Session, repository_id: int, digest: str, now: datetime | None = None
) -> list[str]:
    """Stop showing the manifest and the tags that name it; those tags. `ManifestUnknown`.

    With ``now``, what it kept counts as used until then.
    """
    if now is not None:
        freed = below(session, repository_id, digest)
        note_use(session, [(repository_id, each) for each in freed], now)
    tags = delete(TagRow).where(
        col(TagRow.repository_id) == repository_id, col(TagRow.digest) == digest
    )
    names = session.execute(tags.returning(col(TagRow.name))).scalars().all()
    manifests = delete(ManifestRow).where(
        col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest
    )
    gone = session.execute(manifests.returning(col(ManifestRow.digest))).scalars().all()
    if not gone:
        raise ManifestUnknown(detail={"digest": digest})
    session.execute(
        delete(ManifestUseRow).where(
            col(ManifestUseRow.repository_id) == repository_id,
            col(ManifestUseRow.digest) == digest,
        )
    )
    elsewhere = exists().where(col(ManifestRow.digest) == digest)
    session.execute(delete(EdgeRow).where(col(EdgeRow.parent) == digest, ~elsewhere))
    return list(names)


def move_tags(
    session: Session,
    repository_id: int,
    tags: Sequence[Tag],
    digest: Digest,
    origin: Origin,
    now: datetime,
    confirmed_at: datetime | None = None,
) -> None:
    """Let every one of ``tags`` name ``digest``; ``updated_at`` moves only with the digest."""
    let_go(session, repository_id, tags, now)
    for tag in tags:
        fresh = insert(TagRow).values(
            repository_id=repository_id,
            name=tag,
            digest=digest,
            created_at=now,
            updated_at=now,
            origin=origin,
            confirmed_at=confirmed_at,
        )
        session.execute(
            fresh.on_conflict_do_update(
                index_elements=["repository_id", "name"],
                set_={
                    "digest": digest,
                    "updated_at": now,
                    "origin": origin,
                    "confirmed_at": confirmed_at,
                },
                where=(col(TagRow.digest) != digest),
            )
        )
        if confirmed_at is not None:
            confirm_tag(session, repository_id, tag, digest, confirmed_at)


def confirm_tag(
    session: Session, repository_id: int, tag: str, digest: str, confirmed_at: datetime
) -> None:
    """Note that the parent said its tag names this digest, where ours does."""
    session.execute(
        update(TagRow)
        .where(
            col(TagRow.repository_id) == repository_id,
            col(TagRow.name) == tag,
            col(TagRow.digest) == digest,
        )
        .values(confirmed_at=confirmed_at, origin="parent")
    )
