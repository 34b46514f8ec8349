"""Peers that every system test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from peers.distribution import Distribution
from system.clients import Containerd, ContainerTools
from system.replica import Replica

ReplicaFactory = Callable[..., Replica]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what all tests of a file share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def distribution(folder: Path) -> Iterator[Distribution]:
    """Debian's docker-registry, one for a file of tests."""
    with Distribution(folder / "distribution") as registry:
        yield registry


@pytest.fixture(scope="module")
def tools() -> Iterator[ContainerTools]:
    """skopeo, podman and buildah."""
    with ContainerTools() as tools:
        yield tools


@pytest.fixture(scope="module")
def containerd(folder: Path) -> Iterator[Containerd]:
    """A containerd of its own."""
    with Containerd(folder / "containerd") as daemon:
        yield daemon


@pytest.fixture
def new_replica(tmp_path: Path) -> Iterator[ReplicaFactory]:
    """Make and start replicas that end with the test: ``new_replica(desired, parent=...)``."""
    with ExitStack() as stack:
        made = 0

        def make(desired: dict[str, Any], **options: Any) -> Replica:
            nonlocal made
            made += 1
            replica = Replica(tmp_path / f"replica{made}", desired, **options)
            stack.callback(replica.stop)
            return replica.start()

        yield make
