"""Kill a collection at every durable step: what is kept is whole, and the next one ends the work.

The invariants are those of the reference's section 5.3: I2, I3 and I7.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.collection import Collector
from storage.store import OTHER, REPOSITORY, image, multi_platform, open_store

pytestmark = pytest.mark.faults

KEPT = image(b"kept", b"shared")
GONE = image(b"gone", b"shared")
WHOLE, CHILDREN = multi_platform(["linux/amd64", "linux/arm64"])
SIGNATURE = image(b"signature", subject=WHOLE.descriptor())


@pytest.fixture(scope="module")
def wrecks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder for each step at which a collection was killed, the last one unharmed."""
    root = tmp_path_factory.mktemp("wrecks")
    source = tmp_path_factory.mktemp("source") / "data"
    with open_store(source) as store:
        store.push(KEPT, "v1")
        store.push(GONE)
        store.push(KEPT, "v1", repository=OTHER)
        for each in (*CHILDREN.values(), WHOLE, SIGNATURE):
            store.push(each)
        store.push_blob(b"alone")
    tests = Path(__file__).parent.parent
    subprocess.run(
        [sys.executable, "-m", "faults.collection_victim", str(source), str(root)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
    )
    return sorted(root.iterdir(), key=lambda path: int(path.name))


def test_there_were_enough_kills(wrecks: list[Path]) -> None:
    """Transactions and single files."""
    assert len(wrecks) > 20


def test_whatever_was_cut_what_is_kept_is_whole(wrecks: list[Path]) -> None:
    """Everything tagged, in every repository, byte for byte."""
    for folder in wrecks:
        with open_store(folder) as store:
            for repository in (REPOSITORY, OTHER):
                root = store.registry.resolve(repository, Tag("v1")).digest
                assert store.registry.closure(repository, root).complete, folder.name
            for path in store.stored_files():
                digest = Digest.parse(f"{path.parent.name}:{path.name}")
                assert digest.matches(path.read_bytes()), folder.name


def test_no_row_is_left_without_its_file(wrecks: list[Path]) -> None:
    """Rows go first: what is shown can be served."""
    for folder in wrecks:
        with open_store(folder) as store, store.database.read() as session:
            for (digest,) in session.connection().exec_driver_sql("SELECT digest FROM blob"):
                assert store.blobs.size(Digest(digest)) is not None, folder.name


def test_the_next_collection_ends_the_work(wrecks: list[Path]) -> None:
    """Nothing is left but what is tagged: no file, no row."""
    expected = {KEPT.digest, *(Digest.of(blob) for blob in KEPT.blobs)}
    for folder in wrecks:
        with open_store(folder) as store:
            store.clock.pass_by(days=60)
            Collector(
                store.folder,
                store.database,
                store.blobs,
                store.registry,
                store.ledger,
                clock=store.clock,
            ).collect()
            files = {f"{path.parent.name}:{path.name}" for path in store.stored_files()}
            assert files == expected, folder.name
            totals = store.registry.statistics()
            assert (totals.manifests, totals.blobs) == (2, 3)
