"""A new database from the image layout, when the old one is lost or damaged.

What comes back: repositories, tags, manifests and blobs. What does not: settings, keys, tokens
issued, the sync's memory, queued pushes; hub, parent and clients bring those again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import update
from sqlmodel import Session

from connected_registry.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    RegistryError,
    StorageError,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage import disk, rows
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.layout import REF_NAME, REPOSITORY
from connected_registry.storage.models import BlobRow

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When rebuilt content was verified: the scrub begins with it."""


@dataclass(slots=True)
class Rebuilt:
    """What came back. ``lost`` are sentences."""

    repositories: set[str] = field(default_factory=set)
    tags: int = 0
    manifests: int = 0
    lost: list[str] = field(default_factory=list)
    old: str | None = None
    """Where the old database is."""

    def to_json(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "repositories": len(self.repositories),
            "tags": self.tags,
            "manifests": self.manifests,
            "lost": self.lost[:50],
            "lostCount": len(self.lost),
            "oldDatabase": self.old,
        }


def is_sound(database: Path) -> str | None:
    """What is wrong with a database file; None for a sound one."""
    if not database.is_file():
        return "it is not there"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if found == ["ok"]:
                connection.execute("SELECT count(*) FROM repository").fetchone()
                return None
            return "; ".join(found)
    except sqlite3.Error as error:
        return str(error)


def rebuild(path: Path, *, clock: Callable[[], datetime]) -> Rebuilt:
    """Put the old database aside and make a new one from ``index.json`` and the blobs.

    Raises `FolderInUse` while a replica runs, `StorageError` where there is no layout, `DiskFull`.
    """
    done = Rebuilt()
    with DataFolder.open(path, adopt=True) as folder:
        entries = list(_entries(folder.index))
        blobs = BlobStore(folder)
        fresh = folder.replica / "registry.db.rebuilt"
        for beside in ("", "-wal", "-shm"):
            fresh.with_name(fresh.name + beside).unlink(missing_ok=True)
        with Database(fresh) as database:
            builder = _Builder(database, blobs, clock, done)
            for entry in entries:
                builder.add(*entry)
            with database.write() as session:
                session.execute(update(BlobRow).values(verified_at=_NEVER))
        done.old = _swap(folder, fresh, clock())
    return done


def _swap(folder: DataFolder, fresh: Path, now: datetime) -> str | None:
    old = folder.database
    aside = folder.replica / f"lost-{now:%Y%m%dT%H%M%SZ}"
    with disk.disk_errors("cannot put the new database in its place"):
        kept = None
        for beside in ("", "-wal", "-shm"):
            file = old.with_name(old.name + beside)
            if file.exists():
                aside.mkdir(mode=0o700, exist_ok=True)
                file.replace(aside / file.name)
                kept = str(aside)
        with closing(sqlite3.connect(fresh)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
        descriptor = disk.look(fresh)
        try:
            disk.place(fresh, descriptor, old)
        finally:
            os.close(descriptor)
    return kept


def _entries(index: Path) -> Iterator[tuple[RepositoryName, Tag | None, Digest, str]]:
    try:
        document = json.loads(index.read_bytes())
        manifests = document["manifests"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{index} cannot be read ({error}): restore a backup instead") from None
    for entry in manifests:
        try:
            annotations = entry.get("annotations") or {}
            repository = RepositoryName.parse(annotations[REPOSITORY])
            name = annotations.get(REF_NAME)
            tag = Tag.parse(name.rpartition(":")[2]) if name is not None else None
            yield repository, tag, Digest.parse(entry["digest"]), str(entry.get("mediaType") or "")
        except (RegistryError, KeyError, TypeError, AttributeError):
            continue


class _Builder:
    """Adds images to an empty database, each in one transaction."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        clock: Callable[[], datetime],
        done: Rebuilt,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._done = done

    def add(
        self, repository: RepositoryName, tag: Tag | None, digest: Digest, media_type: str
    ) -> None:
        """Show an image again as far as it is whole."""
        name = f"{repository}:{tag}" if tag is not None else f"{repository}@{digest}"
        try:
            with self._database.write() as session:
                now = self._clock()
                number = rows.make_repository(session, repository, now)
                count = self._manifest(session, number, digest, media_type, now, set())
                if tag is not None:
                    rows.move_tags(session, number, [tag], digest, "parent", now)
        except (RegistryError, StorageError) as error:
            self._done.lost.append(f"{name}: {error}")
            return
        self._done.repositories.add(repository)
        self._done.manifests += count
        self._done.tags += tag is not None

    def _manifest(
        self,
        session: Session,
        number: int,
        digest: Digest,
        media_type: str,
        now: datetime,
        seen: set[str],
    ) -> int:
        """Add a manifest below its children; how many were new."""
        if digest in seen:
            return 0
        seen.add(digest)
        if rows.manifest_sizes(session, number, [digest]):
            return 0
        content = self._blobs.read(digest)
        if not digest.matches(content):
            raise DigestInvalid(f"the stored manifest {digest} is damaged")
        manifest = Manifest.parse(content, media_type)
        for blob in (*manifest.blobs, *manifest.embedded):
            size = self._blobs.size(blob.digest)
            if size == blob.size:
                rows.link_blob(session, number, blob.digest, size, now)
        count = 1
        for child in manifest.children:
            try:
                with session.begin_nested():
                    count += self._manifest(
                        session, number, child.digest, child.media_type, now, seen
                    )
            except BlobUnknown:
                continue  # A platform that was never here.
            except ManifestBlobUnknown as error:
                self._done.lost.append(f"{child.digest}: {error}")
        rows.check_references(session, number, manifest)
        rows.add_manifest(session, number, digest, manifest, "parent", now)
        return count
