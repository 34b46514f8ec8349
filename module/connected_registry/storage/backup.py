"""A whole copy of a data folder, made while it is in use, and a data folder made from one.

The database is copied first, by SQLite's own means, and then every file that the copy names, while
nothing is removed. What is copied is a data folder itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connected_registry.errors import DigestInvalid, StorageError
from connected_registry.oci.digest import ENCODED, Digest
from connected_registry.storage import disk
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.lease import nothing_removed

_PAGES: Final = 1000
"""Pages of the database copied between two writers."""


@dataclass(slots=True)
class Copied:
    """What a backup or a restoration copied so far. ``damaged`` are digests."""

    files: int = 0
    linked: int = 0
    known: int = 0
    bytes: int = 0
    damaged: int = 0
    examples: tuple[str, ...] = ()

    def note_damage(self, digest: str) -> None:
        """Count a file that is missing or not what its digest says."""
        self.damaged += 1
        self.examples = (*self.examples, digest)[:20]

    def to_json(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "files": self.files,
            "linked": self.linked,
            "alreadyThere": self.known,
            "bytes": self.bytes,
            "damaged": self.damaged,
            "examples": list(self.examples),
        }


Told = Callable[[Copied], None]


def back_up(source: Path, target: Path, *, told: Told = lambda _done: None) -> Copied:
    """Copy the data folder ``source``, in use or not, to ``target``, new or an older backup.

    On one file system files are linked, which takes no space; else they are copied and checked.
    Raises `FolderInUse` where a replica runs on ``target``, `StorageError`, `DiskFull`.
    """
    source, target = _apart(source, target)
    done = Copied()
    if not (source / "replica" / "registry.db").is_file():
        raise StorageError(f"{source} is no data folder: it has no replica/registry.db")
    with DataFolder.open(target) as folder, nothing_removed(source):
        fresh = folder.partials / "registry.db"
        with disk.disk_errors(f"cannot back up {source}"):
            _copy_database(source / "replica" / "registry.db", fresh)
            for digest, size in _content(fresh):
                _bring(source, folder, digest, size, done, link=True)
                told(done)
            for algorithm in ENCODED:
                disk.sync_folder(folder.blobs / algorithm)
            if (source / "index.json").is_file():
                disk.replace_file(
                    folder.index, (source / "index.json").read_bytes(), folder.partials
                )
            _put_database(fresh, folder)
    return done


def restore(backup: Path, target: Path, *, told: Told = lambda _done: None) -> Copied:
    """Make the data folder ``target``, which must be new or empty, from a backup.

    Every file is copied and checked; what is damaged in the backup is left out, and fetched again
    by the verification or the sync. Raises `StorageError`, `DiskFull`.
    """
    backup, target = _apart(backup, target)
    database = backup / "replica" / "registry.db"
    if not database.is_file():
        raise StorageError(f"{backup} is no backup: it has no replica/registry.db")
    if (target / "replica" / "registry.db").exists():
        raise StorageError(f"{target} holds a replica already: restore into an empty folder")
    done = Copied()
    with DataFolder.open(target) as folder:
        fresh = folder.partials / "registry.db"
        with disk.disk_errors(f"cannot restore {backup}"):
            _copy_database(database, fresh)
            for digest, size in _content(fresh):
                _bring(backup, folder, digest, size, done, link=False)
                told(done)
            for algorithm in ENCODED:
                disk.sync_folder(folder.blobs / algorithm)
            _put_database(fresh, folder)
    return done


def _apart(source: Path, target: Path) -> tuple[Path, Path]:
    source, target = Path(os.path.abspath(source)), Path(os.path.abspath(target))  # noqa: PTH100
    if source == target or source in target.parents or target in source.parents:
        raise StorageError(f"{target} and {source} are one inside the other: choose another folder")
    return source, target


def _copy_database(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(disk.create(target))
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing, pages=_PAGES)
            # Bytes of sessions are not copied, so there is nothing to go on with.
            writing.execute("DELETE FROM upload")
            writing.commit()
            writing.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise StorageError(f"cannot copy database {source}: {error}") from error


def _put_database(fresh: Path, folder: DataFolder) -> None:
    """The last step: from here on the folder holds what the copy names."""
    for beside in ("-wal", "-shm"):
        folder.database.with_name(folder.database.name + beside).unlink(missing_ok=True)
    descriptor = disk.look(fresh)
    try:
        disk.place(fresh, descriptor, folder.database)
    finally:
        os.close(descriptor)


def _content(database: Path) -> Iterator[tuple[Digest, int]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reading:
        for text, size in reading.execute("SELECT digest, size FROM blob ORDER BY digest"):
            try:
                yield Digest.parse(text), size
            except DigestInvalid:
                continue


def _bring(
    source: Path, folder: DataFolder, digest: Digest, size: int, done: Copied, *, link: bool
) -> None:
    """Have one file in ``folder``, unless it is there."""
    place = f"blobs/{digest.algorithm}/{digest.encoded}"
    origin, final = source / place, folder.path / place
    if final.is_file() and final.stat().st_size == size:
        done.known += 1
        return
    if link:
        try:
            if origin.lstat().st_size != size:
                done.note_damage(digest)
                return
            final.unlink(missing_ok=True)
            os.link(origin, final, follow_symlinks=False)
        except FileNotFoundError:
            done.note_damage(digest)
            return
        except OSError:
            pass  # Another file system, or one without links: copied below.
        else:
            done.linked += 1
            done.bytes += size
            return
    if _copy(origin, folder, final, digest, size):
        done.files += 1
        done.bytes += size
    else:
        done.note_damage(digest)


def _copy(origin: Path, folder: DataFolder, final: Path, digest: Digest, size: int) -> bool:
    """Copy and check one file; whether it was what its digest says."""
    try:
        reading = disk.look(origin)
    except FileNotFoundError:
        return False
    temporary = folder.partials / f"put-{digest.encoded}"
    temporary.unlink(missing_ok=True)
    try:
        writing = disk.create(temporary)
        try:
            running, offset = digest.new_hash(), 0
            for chunk in disk.read_chunks(reading):
                running.update(chunk)
                disk.write_all(writing, chunk, offset)
                offset += len(chunk)
            if offset != size or Digest.from_hash(running) != digest:
                return False
            os.fsync(writing)
            temporary.replace(final)
            return True
        finally:
            os.close(writing)
    finally:
        os.close(reading)
        temporary.unlink(missing_ok=True)
