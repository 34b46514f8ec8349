"""Is an image whole here? A walk over what its manifests name."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

from sqlalchemy import select
from sqlmodel import Session, col

from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest, select_children
from connected_registry.oci.media_type import INDEXES
from connected_registry.oci.platform import Platform
from connected_registry.storage import rows
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.content import Closure, Missing
from connected_registry.storage.models import EdgeRow, ManifestRow

_BUDGET: Final = 20_000
"""Most pieces of content looked at for one image."""


def walk(
    session: Session,
    blobs: BlobStore,
    repository_id: int,
    root: Digest,
    platforms: Sequence[Platform],
) -> Closure:
    """Follow every required edge from ``root``, each digest once.

    With ``platforms``, children of others are not needed. A blob counts as here when the
    repository shows it and its file has the right size.
    """
    seen: dict[Digest, int] = {}
    missing: dict[Digest, Missing] = {}
    manifests: list[Digest] = []
    found: dict[Digest, int] = {}
    waiting: deque[tuple[Digest, int | None]] = deque([(root, None)])

    def lack(
        digest: Digest, size: int, reason: Literal["missing", "not selected", "unknown"]
    ) -> None:
        missing.setdefault(digest, Missing(digest, size, reason))

    while waiting:
        level = {digest: size for digest, size in waiting if digest not in seen}
        waiting.clear()
        seen.update((digest, size or 0) for digest, size in level.items())
        if len(seen) + len(found) > _BUDGET:
            for digest, size in level.items():
                lack(digest, size or 0, "unknown")
            break
        here = rows.manifest_sizes(session, repository_id, level)
        wanted: dict[Digest, int] = {}
        for digest, size in level.items():
            if here.get(digest) is None or blobs.size(digest) != here[digest]:
                lack(digest, size or 0, "missing")
                continue
            manifests.append(digest)
            selected = _selected(session, blobs, repository_id, digest, platforms)
            for edge in _edges(session, digest):
                child = Digest(edge.child)
                if edge.kind != "manifest":
                    wanted[child] = edge.size
                elif selected is None or child in selected:
                    waiting.append((child, edge.size))
                elif not rows.manifest_sizes(session, repository_id, [child]):
                    lack(child, edge.size, "not selected")
        linked = rows.linked_sizes(session, repository_id, wanted)
        for digest, size in wanted.items():
            if linked.get(digest) == size == blobs.size(digest):
                found[digest] = size
            else:
                lack(digest, size, "missing")
    lacking = tuple(missing.values())
    return Closure(
        complete=all(item.reason == "not selected" for item in lacking),
        missing=lacking,
        manifests=tuple(manifests),
        blobs=tuple(found.items()),
    )


def _edges(session: Session, parent: Digest) -> Sequence[EdgeRow]:
    statement = (
        select(EdgeRow)
        .where(col(EdgeRow.parent) == parent, col(EdgeRow.required))
        .order_by(col(EdgeRow.position))
    )
    return session.execute(statement).scalars().all()


def _selected(
    session: Session,
    blobs: BlobStore,
    repository_id: int,
    digest: Digest,
    platforms: Sequence[Platform],
) -> set[Digest] | None:
    """The children that ``platforms`` need, by the rule of the sync; ``None``: all of them."""
    if not platforms:
        return None
    statement = select(col(ManifestRow.media_type)).where(
        col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest
    )
    media_type = session.execute(statement).scalar_one()
    if media_type not in INDEXES:
        return None
    index = Manifest.parse(blobs.read(digest), media_type)
    return {child.digest for child in select_children(index, platforms)}
