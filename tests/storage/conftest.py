"""An open store for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store on a new folder."""
    with open_store(tmp_path / "data") as opened:
        yield opened
