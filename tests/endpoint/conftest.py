"""A served store for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from endpoint.serving import Site, serve


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A ReadWrite registry that is open to everyone."""
    with serve(tmp_path / "data") as site:
        yield site


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    """A client of `site`."""
    with site.client() as client:
        yield client
