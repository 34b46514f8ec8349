"""Kill at every durable step of push, sync and delete: nothing acknowledged is lost or half there.

The invariants are those of the reference's section 5.3: I1 acknowledged writes survive, I2 bytes
are what their digest says, I3 what is shown is whole, I4 a tag is old or new, I5 deleted stays
deleted, I7 nothing is left lying about.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connected_registry.errors import BlobUnknown, ManifestUnknown, NameUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from faults.storage_victim import FIRST, INDEX, SECOND, SPARE, STEPS, TAG
from storage.store import REPOSITORY, Store, open_store

pytestmark = pytest.mark.faults

NAMES = [name for name, _ in STEPS]


@pytest.fixture(scope="module")
def wrecks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each step at which a run was killed, the last one unharmed."""
    root = tmp_path_factory.mktemp("wrecks")
    tests = Path(__file__).parent.parent
    subprocess.run(
        [sys.executable, "-m", "faults.storage_victim", str(root)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
    )
    return root


def folders(root: Path) -> list[tuple[Path, list[str]]]:
    """Each folder with what its run was told is done."""
    return [
        (folder, folder.with_suffix(".acknowledged").read_text().splitlines())
        for folder in sorted((path for path in root.iterdir() if path.is_dir()), key=by_number)
    ]


def by_number(path: Path) -> int:
    """Order of the kills."""
    return int(path.name)


def tagged(store: Store, tag: Tag) -> Digest | None:
    """What a tag names."""
    try:
        return store.registry.resolve(REPOSITORY, tag).digest
    except ManifestUnknown:
        return None


def shown(store: Store, digest: Digest) -> bool:
    """Whether the manifest is there."""
    try:
        store.registry.resolve(REPOSITORY, digest)
    except ManifestUnknown:
        return False
    return True


def blob_shown(store: Store, digest: Digest) -> bool:
    """Whether the blob is there."""
    try:
        store.registry.stat_blob(REPOSITORY, digest)
    except BlobUnknown:
        return False
    return True


def effects(store: Store) -> dict[str, bool]:
    """Which steps' effects can be seen, where a later step does not hide them."""
    latest = tagged(store, TAG)
    rank = [None, FIRST.digest, SECOND.digest, INDEX.digest].index(latest)
    return {
        "opened": True,
        "first pushed": rank >= 1,
        "second pushed": rank >= 2,
        "synced": rank >= 3,
        "spare deleted": not blob_shown(store, Digest.of(SPARE)),
        "tag deleted": tagged(store, Tag("synced")) is None,
        "first deleted": not shown(store, FIRST.digest),
        "remembered": store.ledger.get("key") == {"kept": True},
    }


def test_there_were_enough_kills(wrecks: Path) -> None:
    """Every step but the last, which has one write, was cut somewhere; one run ended well."""
    acknowledged = [len(done) for _, done in folders(wrecks)]
    assert acknowledged == sorted(acknowledged)
    assert set(acknowledged) >= set(range(len(NAMES) - 1))
    assert acknowledged[-1] == len(NAMES)


def test_what_was_acknowledged_is_in_effect(wrecks: Path) -> None:
    """I1, I4, I5: each step that was reported as done is seen after the restart."""
    for folder, done in folders(wrecks):
        with open_store(folder) as store:
            seen = effects(store)
            lost = [name for name in done if not seen.get(name, True)]
            assert lost == [], f"killed at step {folder.name}"


def test_no_step_happens_before_its_turn(wrecks: Path) -> None:
    """At most the step that was cut is in effect without having been reported."""
    for folder, done in folders(wrecks):
        early = NAMES[len(done) + 1 :]
        with open_store(folder) as store:
            seen = effects(store)
            # These two are seen from the start, before there was anything to delete.
            seen["spare deleted"] &= "spare pushed" in done
            seen["tag deleted"] &= "synced" in done
            seen["first deleted"] &= "first pushed" in done
            assert [name for name in early if seen.get(name)] == [], folder.name


def test_every_file_is_what_its_name_says(wrecks: Path) -> None:
    """I2: nothing is at a digest's path but that content, whole."""
    for folder, _ in folders(wrecks):
        for path in (folder / "blobs").rglob("*"):
            if path.is_file():
                digest = Digest.parse(f"{path.parent.name}:{path.name}")
                assert digest.matches(path.read_bytes()), folder.name


def test_the_database_is_never_ahead_of_the_files(wrecks: Path) -> None:
    """Content is in place, whole, before any row names it."""
    for folder, _ in folders(wrecks):
        with open_store(folder) as store, store.database.read() as session:
            rows = session.connection().exec_driver_sql("SELECT digest, size FROM blob")
            for digest, size in rows:
                assert store.blobs.size(Digest(digest)) == size, folder.name


def test_every_shown_image_is_whole(wrecks: Path) -> None:
    """I3: by tag or digest."""
    for folder, _ in folders(wrecks):
        with open_store(folder) as store:
            try:
                manifests = store.registry.manifest_details(REPOSITORY).items
            except NameUnknown:
                continue
            for manifest in manifests:
                closure = store.registry.closure(REPOSITORY, manifest.digest)
                assert closure.complete, (folder.name, closure.missing)


def test_nothing_is_left_lying_about(wrecks: Path) -> None:
    """I7: after recovery there is no staged file and no upload nobody can go on with."""
    for folder, _ in folders(wrecks):
        with open_store(folder) as store:
            staged = [path.name for path in store.folder.partials.iterdir()]
            assert [name for name in staged if name.startswith("put-")] == []
            uploads = {path.name for path in store.folder.uploads.iterdir()}
            with store.database.read() as session:
                rows = session.connection().exec_driver_sql("SELECT id FROM upload")
                assert uploads == {row[0] for row in rows}


def test_the_run_can_be_done_again(wrecks: Path) -> None:
    """Whatever was cut, doing everything once more works; tried on every seventh."""
    for folder, _ in folders(wrecks)[::7]:
        with open_store(folder) as store:
            for _, step in STEPS:
                step(store)
            assert tagged(store, TAG) == INDEX.digest
            assert tagged(store, Tag("synced")) is None
