"""A look at the ledger's settings while another process has the data folder."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from connected_registry.errors import StorageError
from connected_registry.storage.models import SettingRow


def peek(database: Path, key: str) -> Any:
    """What `Ledger.get` gives; None where there is no database yet. Changes and locks nothing."""
    if not database.is_file():
        return None
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        try:
            statement = f"SELECT value FROM {SettingRow.__tablename__} WHERE key = ?"  # noqa: S608
            row = connection.execute(statement, (key,)).fetchone()
        finally:
            connection.close()
        return None if row is None else json.loads(row[0])
    except (sqlite3.Error, ValueError) as error:
        raise StorageError(
            f"cannot read {database}: {error}; if it is damaged, restore the data folder or start "
            "with an empty one: the content comes back by a sync"
        ) from error
