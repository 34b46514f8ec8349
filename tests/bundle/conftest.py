"""A replica in the cloud and one on site, with no link between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peers.site import Site, rules

NOWHERE = "127.0.0.1:9"


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Site]:
    """Where bundles are made."""
    async with Site(tmp_path / "cloud", NOWHERE, rules("team/*")) as site:
        yield site


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Site]:
    """Where bundles are brought in."""
    async with Site(tmp_path / "plant", NOWHERE, rules("team/*")) as site:
        yield site
