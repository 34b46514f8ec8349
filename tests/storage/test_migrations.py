"""Migrations: they lead to the models, from every earlier revision, whole or not at all."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from connected_registry.storage.database import REVISION, Database
from connected_registry.storage.migrations.upgrade import configuration
from connected_registry.storage.models import Row


def schema(path: Path) -> dict[str, str]:
    """Every table and index as SQL, spaces and quotes aside, by name."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
    ).fetchall()
    connection.close()
    return {
        name: re.sub(r"\s+", "", sql).replace('"', "").replace(f"'{name}'", name)
        for name, sql in rows
        if name != "alembic_version"
    }


def revisions() -> list[str]:
    """All revisions, oldest first."""
    scripts = ScriptDirectory.from_config(configuration())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def test_the_newest_migration_is_the_one_the_database_expects() -> None:
    """Nobody adds a migration and forgets the number, nor makes two heads."""
    assert revisions()[-1] == REVISION
    assert revisions() == sorted(revisions())
    assert all(re.fullmatch(r"\d{4}", revision) for revision in revisions())


def test_migrating_makes_what_the_models_say(tmp_path: Path) -> None:
    """Tables, columns, keys, indices and storage options are the same by either way."""
    Database(tmp_path / "migrated").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'made'}")
    Row.metadata.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "migrated") == schema(tmp_path / "made")


@pytest.mark.parametrize("revision", revisions()[:-1])
def test_every_earlier_revision_can_be_brought_up(tmp_path: Path, revision: str) -> None:
    """An old folder opens with this release and keeps its rows."""
    engine = create_engine(f"sqlite:///{tmp_path / 'old'}")
    with engine.begin() as connection:
        command.upgrade(configuration(connection), revision)
        connection.exec_driver_sql("INSERT INTO repository (name, created_at) VALUES ('a', 1)")
    engine.dispose()
    Database(tmp_path / "old").close()
    Database(tmp_path / "new").close()
    assert schema(tmp_path / "old") == schema(tmp_path / "new")
    connection_ = sqlite3.connect(tmp_path / "old")
    assert connection_.execute("SELECT name FROM repository").fetchall() == [("a",)]
    connection_.close()


def test_a_cut_in_the_middle_leaves_the_old_form(tmp_path: Path) -> None:
    """All due steps are one transaction."""

    def cut(step: str) -> None:
        if step == "migrate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Database(tmp_path / "db", checkpoint=cut)
    assert schema(tmp_path / "db") == {}
    Database(tmp_path / "db").close()
    assert "repository" in schema(tmp_path / "db")
