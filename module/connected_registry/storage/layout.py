"""``index.json``: what other tools that read OCI image layouts find in the data folder.

Written from the database and never read for serving; it may be older than the database by as long
as its writer waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from sqlalchemy import exists, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from connected_registry.oci import media_type
from connected_registry.storage import disk
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.models import EdgeRow, ManifestRow, RepositoryRow, TagRow

REF_NAME: Final = "org.opencontainers.image.ref.name"
"""Annotation of a tagged entry: ``repository:tag``."""

REPOSITORY: Final = "com.connected-registry.repository"
"""Annotation of every entry: the repository that shows it."""

_BATCH: Final = 1000
_STREAMED: Final = {"yield_per": _BATCH}
_DESCRIPTOR: Final = (col(ManifestRow.media_type), col(ManifestRow.digest), col(ManifestRow.size))


class Layout:
    """Writes the index of one data folder."""

    def __init__(self, folder: DataFolder, database: Database) -> None:
        self._folder = folder
        self._database = database

    def write(self) -> None:
        """Replace ``index.json`` by what the database says now. Raises `DiskFull`."""
        with self._database.read() as session, disk.disk_errors("cannot write index.json"):
            disk.replace_file(self._folder.index, _lines(session), self._folder.partials)


def _lines(session: Session) -> Iterator[bytes]:
    """The index piece by piece: a store may have more entries than memory should hold."""
    head = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX}
    yield json.dumps(head).encode()[:-1] + b', "manifests": ['
    lines: list[str] = []
    between = "\n"
    for entry in chain(_tagged(session), _roots(session)):
        lines.append(between + json.dumps(entry))
        between = ",\n"
        if len(lines) == _BATCH:
            yield "".join(lines).encode()
            lines.clear()
    yield ("".join(lines) + "\n]}\n").encode()


def _tagged(session: Session) -> Iterator[dict[str, Any]]:
    statement = (
        select(col(RepositoryRow.name), col(TagRow.name), *_DESCRIPTOR)
        .join(TagRow, col(TagRow.repository_id) == col(RepositoryRow.id))
        .join(
            ManifestRow,
            (col(ManifestRow.repository_id) == col(TagRow.repository_id))
            & (col(ManifestRow.digest) == col(TagRow.digest)),
        )
        .order_by(col(RepositoryRow.name), col(TagRow.name))
    )
    for repository, tag, *descriptor in session.execute(statement, execution_options=_STREAMED):
        yield _entry(descriptor, {REF_NAME: f"{repository}:{tag}", REPOSITORY: repository})


def _roots(session: Session) -> Iterator[dict[str, Any]]:
    """Manifests that no tag and no index of their repository names; referrers are among them."""
    holder = aliased(ManifestRow)
    tagged = exists().where(
        col(TagRow.repository_id) == col(ManifestRow.repository_id),
        col(TagRow.digest) == col(ManifestRow.digest),
    )
    inside = exists().where(
        col(EdgeRow.child) == col(ManifestRow.digest),
        col(EdgeRow.kind) == "manifest",
        col(EdgeRow.parent) == col(holder.digest),
        col(holder.repository_id) == col(ManifestRow.repository_id),
    )
    statement = (
        select(col(RepositoryRow.name), *_DESCRIPTOR)
        .join(ManifestRow, col(ManifestRow.repository_id) == col(RepositoryRow.id))
        .where(~tagged, ~inside)
        .order_by(col(RepositoryRow.name), col(ManifestRow.digest))
    )
    for repository, *descriptor in session.execute(statement, execution_options=_STREAMED):
        yield _entry(descriptor, {REPOSITORY: repository})


def _entry(descriptor: list[Any], annotations: dict[str, str]) -> dict[str, Any]:
    media_type, digest, size = descriptor
    return {"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations}
