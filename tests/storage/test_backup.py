"""A backup made in use is a data folder of one moment, and a restored one is whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from connected_registry.errors import BlobDamaged, FolderInUse, ManifestUnknown, StorageError
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.backup import back_up, restore
from storage.store import REPOSITORY, Store, image, open_store

FIRST, SECOND = image(b"first"), image(b"second")
V1 = Tag("v1")


def test_a_backup_in_use_is_of_one_moment(store: Store, tmp_path: Path) -> None:
    """What is pushed afterwards is not in it; files are linked, which takes no space."""
    store.push(FIRST, "v1")
    begun = store.uploads.start(REPOSITORY, "tester")
    store.uploads.append(begun, b"half")
    store.ledger.put("kept", 1)
    done = back_up(store.folder.path, tmp_path / "backup")
    store.push(SECOND, "v1", "v2")
    assert (done.linked, done.files, done.damaged) == (3, 0, 0)
    with open_store(tmp_path / "backup") as copy:
        assert copy.registry.resolve(REPOSITORY, V1).digest == FIRST.digest
        assert copy.registry.closure(REPOSITORY, FIRST.digest).complete
        assert copy.ledger.get("kept") == 1
        with pytest.raises(ManifestUnknown):
            copy.registry.resolve(REPOSITORY, SECOND.digest)


def test_a_second_backup_brings_only_what_is_new(store: Store, tmp_path: Path) -> None:
    """And what went meanwhile is not shown in it."""
    store.push(FIRST, "v1")
    back_up(store.folder.path, tmp_path / "backup")
    store.push(SECOND, "v1")
    store.registry.delete_manifest(REPOSITORY, FIRST.digest)
    done = back_up(store.folder.path, tmp_path / "backup")
    assert (done.linked, done.known) == (2, 3)
    with open_store(tmp_path / "backup") as copy:
        assert copy.registry.resolve(REPOSITORY, V1).digest == SECOND.digest
        with pytest.raises(ManifestUnknown):
            copy.registry.resolve(REPOSITORY, FIRST.digest)


def test_what_cannot_be_linked_is_copied_and_checked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another disk; a damaged file is named and left out."""

    def refuse(*_arguments: object, **_more: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    store.push(FIRST, "v1")
    store.blobs.path(Digest.of(b"first")).write_bytes(b"fXrst")
    monkeypatch.setattr(os, "link", refuse)
    done = back_up(store.folder.path, tmp_path / "backup")
    assert (done.files, done.damaged, done.examples) == (2, 1, (Digest.of(b"first"),))
    with open_store(tmp_path / "backup") as copy:
        assert copy.registry.resolve(REPOSITORY, V1).content == FIRST.content
        with pytest.raises(BlobDamaged):
            copy.registry.stat_blob(REPOSITORY, Digest.of(b"first"))


def test_pushes_go_on_during_a_backup(store: Store, tmp_path: Path) -> None:
    """Whatever is shown in the copy is whole in it."""
    ended = threading.Event()

    def push() -> None:
        number = 0
        while not ended.is_set() or number < 5:
            store.push(image(f"layer {number}".encode()), "latest", f"v{number}")
            number += 1

    pushing = threading.Thread(target=push)
    pushing.start()
    try:
        for _ in range(3):
            back_up(store.folder.path, tmp_path / "backup")
    finally:
        ended.set()
        pushing.join()
    with open_store(tmp_path / "backup") as copy:
        for details in copy.registry.manifest_details(REPOSITORY).items:
            assert copy.registry.closure(REPOSITORY, details.digest).complete


def test_a_restored_folder_holds_what_the_backup_did(tmp_path: Path) -> None:
    """Each file its own, so that damage to one is not damage to both."""
    with open_store(tmp_path / "data") as store:
        store.push(FIRST, "v1")
        back_up(tmp_path / "data", tmp_path / "backup")
    done = restore(tmp_path / "backup", tmp_path / "new")
    assert (done.files, done.damaged) == (3, 0)
    with open_store(tmp_path / "new") as store:
        assert store.registry.resolve(REPOSITORY, V1).content == FIRST.content
        path = store.blobs.path(Digest.of(b"first"))
        assert path.stat().st_nlink == 1
        store.push(SECOND, "v2")


def test_mistakes_are_told_and_change_nothing(store: Store, tmp_path: Path) -> None:
    """No backup of what is no data folder, none into itself, none over a replica."""
    data = store.folder.path
    with pytest.raises(StorageError, match="is no data folder"):
        back_up(tmp_path / "nothing", tmp_path / "backup")
    with pytest.raises(StorageError, match="one inside the other"):
        back_up(data, data / "backup")
    with pytest.raises(StorageError, match="is no backup"):
        restore(tmp_path / "nothing", tmp_path / "new")
    back_up(data, tmp_path / "backup")
    with pytest.raises(StorageError, match="holds a replica already"):
        restore(tmp_path / "backup", data)
    with open_store(tmp_path / "backup"), pytest.raises(FolderInUse):
        back_up(data, tmp_path / "backup")
