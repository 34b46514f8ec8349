"""A full disk: writes are refused in a sentence, what is stored is served, room makes it work."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from connected_registry.errors import DiskFull
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from storage.store import REPOSITORY, Store, image, open_store

pytestmark = pytest.mark.faults

SIZE = 4 * 1024 * 1024
TAG = Tag("latest")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes and a few dozen files."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},nr_inodes=60,mode=0700", "none", tmp_path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def fill(folder: Path) -> Path:
    """Use up all the space; the file that takes it."""
    ballast = folder / "ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    for size in (65536, 1):
        try:
            while True:
                os.write(descriptor, b"x" * size)
        except OSError:
            continue
    os.close(descriptor)
    return ballast


def test_a_full_disk_refuses_writes_and_serves_reads(small_disk: Path) -> None:
    """Push, upload, download, manifest and sync fail cleanly; pulls go on; freed room heals."""
    with open_store(small_disk) as store:
        old, new = image(b"old"), image(b"new" * 5000)
        store.push(old, TAG)
        begun = store.uploads.start(REPOSITORY, "tester")
        store.uploads.append(begun, b"begun ")
        partial = store.blobs.partial(Digest.of(b"new" * 5000), 15000)
        ballast = fill(small_disk)
        for write in (
            lambda: store.uploads.append(begun, b"x" * 20000),
            lambda: partial.write(b"new" * 5000),
            lambda: store.blobs.put(b"x" * 20000),
            lambda: store.layout.write(),
        ):
            with pytest.raises(DiskFull):
                write()
        assert (begun.offset, partial.offset) == (6, 0)
        assert store.registry.resolve(REPOSITORY, TAG).content == old.content
        assert store.registry.closure(REPOSITORY, old.digest).complete
        assert store.registry.list_tags(REPOSITORY).items == (TAG,)
        ballast.unlink()
        store.uploads.append(begun, b"and ended")
        store.uploads.finish(begun, Digest.of(b"begun and ended"))
        partial.discard()
        store.push(new, TAG)
        assert store.registry.resolve(REPOSITORY, TAG).digest == new.digest


def test_a_full_disk_leaves_the_database_whole(small_disk: Path) -> None:
    """Transactions fail one after the other without harm, also over a restart."""
    with open_store(small_disk) as store:
        store.push(image(b"old"), TAG)
        ballast = fill(small_disk)
        refused = 0
        for number in range(300):
            try:
                store.ledger.put(f"key {number}", "x" * 4000)
            except DiskFull:
                refused += 1
        assert refused > 0
        assert store.registry.resolve(REPOSITORY, TAG).size > 0
        ballast.unlink()
        store.ledger.put("after", True)
    with open_store(small_disk) as store:
        check = "PRAGMA integrity_check"
        with store.database.read() as session:
            assert session.connection().exec_driver_sql(check).scalar_one() == "ok"
        assert store.ledger.get("after") is True


def test_no_more_files_is_a_full_disk_too(small_disk: Path) -> None:
    """Inodes run out before bytes do on small volumes."""

    def push_all(store: Store) -> None:
        for number in range(100):
            store.push_blob(b"%d" % number)

    with open_store(small_disk) as store:
        store.push(image(b"old"), TAG)
        with pytest.raises(DiskFull):
            push_all(store)
        assert store.registry.closure(
            REPOSITORY, store.registry.resolve(REPOSITORY, TAG).digest
        ).complete
