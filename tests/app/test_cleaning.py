"""Repositories that left the scope go from a ReadOnly replica, and only from there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from connected_registry.app.cleaning import Cleaning
from connected_registry.app.replica import utc_now
from connected_registry.app.store import Store
from connected_registry.edge.twin import Desired
from connected_registry.oci.reference import RepositoryName, Tag
from storage.store import image


def desired(mode: str, *names: str, **sync: Any) -> Desired:
    """A configuration with a scope of these repositories."""
    scope = {"repositories": [{"name": name} for name in names]}
    return Desired.parse({"mode": mode, "scope": scope, "sync": sync})[0]


def fill(store: Store, repository: str, *tags: str) -> None:
    """What a sync would have brought."""
    made = image(b"layer")
    for blob in made.blobs:
        store.blobs.put(blob)
    store.registry.commit_image(made.commit(*tags, repository=RepositoryName(repository)))


async def removed(store: Store, wanted: Desired) -> dict[str, list[str]]:
    """What one cleaning takes away."""
    gone: dict[str, list[str]] = {}

    async def remove(repository: RepositoryName, tags: list[Tag]) -> None:
        gone[repository] = [str(tag) for tag in tags]

    await Cleaning(store, lambda: wanted, remove).clean()
    return gone


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (desired("ReadOnly", "in/*"), {"out/b": ["1"]}),
        (desired("ReadWrite", "in/*"), {}),
        (desired("ReadOnly"), {}),
        (desired("ReadOnly", "in/*", "out/*"), {}),
    ],
)
async def test_what_no_rule_names_goes_from_a_read_only_replica(
    tmp_path: Path, wanted: Desired, expected: dict[str, list[str]]
) -> None:
    """An empty scope takes nothing away, and ReadWrite keeps all."""
    with await asyncio.to_thread(Store, tmp_path, clock=utc_now) as store:
        fill(store, "in/a", "1", "2")
        fill(store, "out/b", "1")
        assert await removed(store, wanted) == expected


async def test_too_much_at_once_stays(tmp_path: Path) -> None:
    """More of all tags than maxDeletePercent is taken for a mistake."""
    with await asyncio.to_thread(Store, tmp_path, clock=utc_now) as store:
        fill(store, "in/a", "1")
        fill(store, "out/b", "1", "2")
        assert await removed(store, desired("ReadOnly", "in/*")) == {}
        wanted = desired("ReadOnly", "in/*", maxDeletePercent=100)
        assert await removed(store, wanted) == {"out/b": ["1", "2"]}


async def test_what_was_pushed_here_stays(tmp_path: Path) -> None:
    """From a time when the replica was ReadWrite."""
    made = image(b"layer")
    with await asyncio.to_thread(Store, tmp_path, clock=utc_now) as store:
        fill(store, "in/a", "1", "2")
        fill(store, "out/b", "synced")
        name = RepositoryName("out/b")
        store.registry.put_manifest(name, Tag("mine"), made.media_type, made.content)
        assert await removed(store, desired("ReadOnly", "in/*")) == {"out/b": ["synced"]}
