"""The database: durability settings, one writer, translation of errors, migrations when due."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from connected_registry.errors import DiskFull, SchemaTooNew, StorageError
from connected_registry.storage.database import REVISION, Database


def add(database: Database, name: str) -> None:
    """Write one row."""
    with database.write() as session:
        session.execute(
            text("INSERT INTO repository (name, created_at) VALUES (:name, 0)"), {"name": name}
        )


def names(database: Database) -> list[str]:
    """What was written."""
    with database.read() as session:
        return list(session.execute(text("SELECT name FROM repository ORDER BY id")).scalars())


def interrupted(database: Database) -> None:
    """Write one row and be stopped before the end."""
    with database.write() as session:
        session.execute(text("INSERT INTO repository (name, created_at) VALUES ('x', 0)"))
        raise KeyboardInterrupt


def test_commits_survive_a_power_cut(tmp_path: Path) -> None:
    """Every connection syncs its log at each commit."""
    with Database(tmp_path / "db") as database:
        for use in (database.read, database.write):
            with use() as session:
                assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
                assert session.execute(text("PRAGMA synchronous")).scalar_one() == 2
                assert session.execute(text("PRAGMA foreign_keys")).scalar_one() == 1


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    """A transaction that ended well is kept."""
    with Database(tmp_path / "db") as database:
        add(database, "kept")
    with Database(tmp_path / "db") as database:
        assert names(database) == ["kept"]


def test_an_error_undoes_the_whole_transaction(tmp_path: Path) -> None:
    """Whatever ends the block early, nothing of it stays, and the next one can write."""
    with Database(tmp_path / "db") as database:
        with pytest.raises(KeyboardInterrupt):
            interrupted(database)
        add(database, "next")
        assert names(database) == ["next"]


def test_readers_cannot_write(tmp_path: Path) -> None:
    """A write by mistake through a reading session fails instead of escaping the writer's lock."""
    with (
        Database(tmp_path / "db") as database,
        pytest.raises(StorageError, match="readonly"),
        database.read() as session,
    ):
        session.execute(text("INSERT INTO repository (name, created_at) VALUES ('x', 0)"))


def test_a_reader_keeps_its_view_while_others_write(tmp_path: Path) -> None:
    """Two looks in one session agree with each other."""
    with Database(tmp_path / "db") as database, database.read() as session:
        count = text("SELECT count(*) FROM repository")
        assert session.execute(count).scalar_one() == 0
        add(database, "new")
        assert session.execute(count).scalar_one() == 0


def test_writers_take_turns(tmp_path: Path) -> None:
    """Many threads that write at once all succeed."""
    with Database(tmp_path / "db") as database:
        threads = [
            threading.Thread(target=add, args=(database, f"r{number}")) for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(names(database)) == sorted(f"r{number}" for number in range(20))


def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own word for no room becomes ours, and reading goes on."""
    with Database(tmp_path / "db") as database:
        add(database, "before")
        with database.write() as session:
            pages = session.execute(text("PRAGMA page_count")).scalar_one()
            session.execute(text(f"PRAGMA max_page_count = {pages}"))
        with pytest.raises(DiskFull):
            add(database, "too long for the room that is left" * 1000)
        assert names(database) == ["before"]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The sentence names the file."""
    (tmp_path / "db").write_bytes(b"not a database, though long enough to look at" * 50)
    with pytest.raises(StorageError, match=str(tmp_path / "db")):
        Database(tmp_path / "db")


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    """Tables without our revision are left alone."""
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("CREATE TABLE things (x)")
    connection.close()
    with pytest.raises(StorageError, match="not one of ours"):
        Database(tmp_path / "db")


def test_a_newer_releases_database_is_refused(tmp_path: Path) -> None:
    """Nothing is written to it."""
    Database(tmp_path / "db").close()
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (tmp_path / "db").read_bytes()
    with pytest.raises(SchemaTooNew, match="9999"):
        Database(tmp_path / "db")
    assert (tmp_path / "db").read_bytes() == before


def test_alembic_is_not_imported_when_nothing_is_due(tmp_path: Path) -> None:
    """A start with an up-to-date database does not pay for it."""
    Database(tmp_path / "db").close()
    script = (
        "import sys; from pathlib import Path\n"
        "from connected_registry.storage.database import Database\n"
        "Database(Path(sys.argv[1])).close(); sys.exit('alembic' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "db")], check=True)


def test_the_database_is_private(tmp_path: Path) -> None:
    """Also the files that SQLite puts beside it."""
    with Database(tmp_path / "db") as database:
        add(database, "x")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600}


def test_odd_characters_in_the_path_do_no_harm(tmp_path: Path) -> None:
    """The path is a path, not part of an address."""
    odd = tmp_path / "a ?b=c%20#d"
    odd.mkdir()
    with Database(odd / "db"):
        assert (odd / "db").stat().st_size > 0


def test_the_revision_is_recorded(tmp_path: Path) -> None:
    """A fresh database is at the newest revision."""
    with Database(tmp_path / "db") as database, database.read() as session:
        found = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        assert found == REVISION
