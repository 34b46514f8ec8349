"""The database: one SQLite file, many readers, one writer at a time.

WAL with ``synchronous=FULL``: what `Database.write` has committed survives a power cut. This is the
only file that meets SQLAlchemy's errors.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session

from connected_registry.errors import DiskFull, SchemaTooNew, StorageError
from connected_registry.storage import disk

REVISION: Final = "0004"
"""The newest migration. Revisions are numbers of four digits: later ones compare greater."""

_READERS: Final = 8
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=10000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA trusted_schema=OFF",
)


class Database:
    """An open database, brought to this release's form.

    Raises `SchemaTooNew` for a later form, `StorageError` for a file that is no database or
    damaged, `DiskFull`. ``checkpoint`` is told ``commit`` and ``committed``.
    """

    def __init__(self, path: Path, *, checkpoint: disk.Checkpoint = disk.pass_by) -> None:
        self.path = path
        self._checkpoint = checkpoint
        self._writer = threading.Lock()
        with disk.disk_errors(f"cannot open database {path}"):
            # Made here for its mode, which SQLite gives to the files beside it too.
            os.close(disk.resume(path))
        self._writing = _engine(path, size=1, begin="BEGIN IMMEDIATE")
        self._reading = _engine(path, size=_READERS, begin="BEGIN", pragma="PRAGMA query_only=ON")
        try:
            with _translated(path):
                self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection."""
        self._reading.dispose()
        self._writing.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view of what is committed. Writing through it fails."""
        with _translated(self.path), Session(self._reading) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The one transaction that may write: committed and durable on a clean exit, else undone.

        Content files are only ever removed while this is held, so a transaction that has seen a
        file can link it. Not to be nested.
        """
        with self._writer, _translated(self.path), Session(self._writing) as session:
            yield session
            self._checkpoint("commit")
            session.commit()
            self._checkpoint("committed")

    def _bring_up_to_date(self) -> None:
        with self._writing.connect() as connection:
            current = _revision(connection)
        if current is not None and not (current.isdigit() and current <= REVISION):
            raise SchemaTooNew(
                f"database {self.path} was written by a newer release (revision {current}, this "
                f"one knows {REVISION}): use that release"
            )
        if current != REVISION:
            # Alembic costs a quarter of a second to import, and is needed once a release.
            from connected_registry.storage.migrations.upgrade import upgrade

            with self._writing.connect() as connection:
                upgrade(connection, self._checkpoint)
            disk.sync_folder(self.path.parent)


def _revision(connection: Connection) -> str | None:
    """The recorded revision; ``None`` for a database that has nothing in it."""
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
        revision: str | None = found.one_or_none()
        if revision is not None:
            return revision
    if tables - {"alembic_version"}:
        raise StorageError("the database holds tables and no revision: it is not one of ours")
    return None


def _engine(path: Path, *, size: int, begin: str, pragma: str | None = None) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"check_same_thread": False},
    )

    # The sqlite3 module begins transactions late and never around DDL; we say BEGIN ourselves.
    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        for statement in _PRAGMAS:
            connection.execute(statement).close()
        if pragma is not None:
            connection.execute(pragma).close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull(f"database {path}: the disk is full; nothing was changed") from error
        raise StorageError(f"database {path}: {error.orig}") from error
    except SQLAlchemyError as error:
        raise StorageError(f"database {path}: {error}") from error
