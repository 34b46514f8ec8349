"""Brings a database to the newest revision. Imported only when that is due."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from connected_registry.storage.disk import Checkpoint


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's settings for the scripts beside this file, working through ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, checkpoint: Checkpoint) -> None:
    """Run every due step in one transaction, so that a cut leaves the old form whole."""
    with connection.begin():
        command.upgrade(configuration(connection), "head")
        checkpoint("migrate")
    checkpoint("migrated")
