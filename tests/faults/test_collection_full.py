"""A disk without a byte left: collection and purging work, and make room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from connected_registry.errors import DiskFull
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.ballast import Ballast
from connected_registry.storage.collection import Collector
from storage.store import REPOSITORY, Store, image, open_store

pytestmark = pytest.mark.faults

SIZE = 16 * 1024 * 1024
KEPT, GONE = image(b"kept"), image(b"gone" * 100_000)


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "none", str(place)]
    else:
        backing = tmp_path / "backing"
        with backing.open("wb") as file:
            file.truncate(SIZE)
        made = subprocess.run(
            ["mkfs.ext4", "-q", "-m", "0", str(backing)], capture_output=True, check=False
        )
        if made.returncode != 0:
            pytest.skip("cannot make an ext4 file system")
        mount = ["mount", "-o", "loop", str(backing), str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode()}")
    try:
        yield place / "data"
    finally:
        subprocess.run(["umount", place], check=True)


def fill(folder: Path) -> None:
    """Use up the last byte."""
    descriptor = os.open(folder.parent / "filler", os.O_WRONLY | os.O_CREAT)
    for size in (65536, 512, 1):
        try:
            while True:
                os.write(descriptor, b"x" * size)
        except OSError:
            continue
    os.close(descriptor)


def collector(store: Store) -> Collector:
    """With a ballast."""
    return Collector(
        store.folder,
        store.database,
        store.blobs,
        store.registry,
        store.ledger,
        clock=store.clock,
        ballast=Ballast(store.folder, 2 * 1024 * 1024),
    )


def settled(folder: Path) -> None:
    """Fill a folder, close it, so that the write-ahead log has no room of its own."""
    with open_store(folder) as store:
        store.push(KEPT, "v1")
        store.push(GONE, "v2")
        assert Ballast(store.folder, 2 * 1024 * 1024).take()


def test_a_full_disk_can_be_collected(small_disk: Path) -> None:
    """And then written to again; what is tagged is served all the while."""
    settled(small_disk)
    with open_store(small_disk) as store:
        fill(small_disk)
        with pytest.raises(DiskFull):
            store.blobs.put(os.urandom(200_000))
        store.clock.pass_by(days=3)
        done = collector(store).remove_tags(REPOSITORY, ["v2"])
        assert done.manifests == 1
        store.clock.pass_by(days=3)
        collector(store).collect()
        assert not store.blobs.path(Digest.of(GONE.blobs[1])).exists()
        assert store.registry.resolve(REPOSITORY, Tag("v1")).content == KEPT.content
        assert store.registry.closure(REPOSITORY, KEPT.digest).complete
        store.blobs.put(os.urandom(200_000))


def test_without_the_ballast_it_says_so_and_changes_nothing(small_disk: Path) -> None:
    """Or does it, where the log had room; never half."""
    settled(small_disk)
    with open_store(small_disk) as store:
        (store.folder.replica / "ballast").unlink()
        fill(small_disk)
        store.clock.pass_by(days=3)
        subject = Collector(
            store.folder,
            store.database,
            store.blobs,
            store.registry,
            store.ledger,
            clock=store.clock,
        )
        try:
            subject.remove_tags(REPOSITORY, ["v2"])
        except DiskFull:
            assert store.registry.closure(REPOSITORY, GONE.digest).complete
        assert store.registry.closure(REPOSITORY, KEPT.digest).complete
