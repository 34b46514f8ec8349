"""The data folder: its form, who may use it, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from connected_registry.errors import FolderInUse, SchemaTooNew, StorageError
from connected_registry.storage.folder import DataFolder


def test_a_new_folder_is_an_empty_image_layout(tmp_path: Path) -> None:
    """Other tools find the version file, an index and both blob folders."""
    with DataFolder.open(tmp_path / "a" / "data") as folder:
        layout = json.loads((folder.path / "oci-layout").read_bytes())
        index = json.loads(folder.index.read_bytes())
        assert layout == {"imageLayoutVersion": "1.0.0"}
        assert (index["schemaVersion"], index["manifests"]) == (2, [])
        assert {path.name for path in folder.blobs.iterdir()} == {"sha256", "sha512"}


def test_nobody_else_can_look_inside(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, also where the folder was there with other rights."""
    (tmp_path / "data").mkdir(mode=0o755)
    with DataFolder.open(tmp_path / "data") as folder:
        for path in (folder.path, *folder.path.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    """A folder of ours is taken as it is, with files that strangers left beside ours."""
    with DataFolder.open(tmp_path / "data") as folder:
        folder.index.write_text("kept")
        (folder.path / "notes.txt").write_text("kept too")
    with DataFolder.open(tmp_path / "data") as folder:
        assert folder.index.read_text() == "kept"
        assert (folder.path / "notes.txt").exists()


def test_a_second_opening_is_refused_while_the_first_lasts(tmp_path: Path) -> None:
    """The refusal names the folder and the process; after closing the folder is free."""
    with DataFolder.open(tmp_path / "data"), pytest.raises(FolderInUse) as refusal:
        DataFolder.open(tmp_path / "data")
    assert str(tmp_path / "data") in str(refusal.value)
    assert str(os.getpid()) in str(refusal.value)
    DataFolder.open(tmp_path / "data").close()


def test_another_process_is_refused(tmp_path: Path) -> None:
    """The lock holds between processes and goes with the one that held it, however it ended."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from connected_registry.storage.folder import DataFolder\n"
        "folder = DataFolder.open(Path(sys.argv[1])); print('held', flush=True)\n"
        "sys.stdin.read(); os._exit(1)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderInUse, match=str(holder.pid)):
            DataFolder.open(tmp_path / "data")
        holder.kill()
    DataFolder.open(tmp_path / "data").close()


def test_a_folder_with_other_things_is_refused_and_untouched(tmp_path: Path) -> None:
    """Somebody's files are never mixed with ours."""
    (tmp_path / "holiday.jpg").write_text("sun")
    with pytest.raises(StorageError, match=r"holiday\.jpg"):
        DataFolder.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_the_root_of_a_fresh_file_system_is_taken(tmp_path: Path) -> None:
    """``lost+found`` is nobody's content."""
    (tmp_path / "lost+found").mkdir()
    DataFolder.open(tmp_path).close()


def test_an_image_layout_of_others_is_taken_over_only_when_told(tmp_path: Path) -> None:
    """A layout without our part might be another program's."""
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "index.json").write_text("kept")
    with pytest.raises(StorageError, match="no replica"):
        DataFolder.open(tmp_path)
    with DataFolder.open(tmp_path, adopt=True) as folder:
        assert folder.index.read_text() == "kept"


@pytest.mark.parametrize("made", ["", "replica", "replica/uploads", "blobs/sha256"])
def test_a_folder_cut_short_while_it_was_made_is_completed(tmp_path: Path, made: str) -> None:
    """The marker comes last, and what comes before it is recognised."""
    root = tmp_path / "data"
    (root / "replica").mkdir(parents=True)
    (root / made).mkdir(parents=True, exist_ok=True)
    with DataFolder.open(root) as folder:
        assert (folder.replica / "folder.json").is_file()


@pytest.mark.parametrize("part", ["", "blobs", "replica", "replica/uploads"])
def test_a_symbolic_link_is_refused(tmp_path: Path, part: str) -> None:
    """Neither the folder nor a part of it may lead elsewhere."""
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    DataFolder.open(root).close()
    (root / part).rename(elsewhere)
    (root / part).symlink_to(elsewhere)
    with pytest.raises(StorageError, match="symbolic link"):
        DataFolder.open(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("part", ["", "blobs", "replica"])
def test_another_users_folder_is_refused(tmp_path: Path, part: str) -> None:
    """The sentence names both users."""
    root = tmp_path / "data"
    DataFolder.open(root).close()
    os.chown(root / part, 12345, 12345)
    with pytest.raises(StorageError, match="belongs to user 12345"):
        DataFolder.open(root)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A plain sentence instead of an error number."""
    (tmp_path / "data").write_text("x")
    with pytest.raises(StorageError, match="is not a folder"):
        DataFolder.open(tmp_path / "data")


def test_a_later_form_is_refused(tmp_path: Path) -> None:
    """A newer release's folder is not touched."""
    DataFolder.open(tmp_path / "data").close()
    (tmp_path / "data/replica/folder.json").write_text('{"format": 2}')
    with pytest.raises(SchemaTooNew, match="newer release"):
        DataFolder.open(tmp_path / "data")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "one"}', "\xff"])
def test_a_damaged_marker_is_told(tmp_path: Path, text: str) -> None:
    """Neither a crash nor a guess."""
    DataFolder.open(tmp_path / "data").close()
    (tmp_path / "data/replica/folder.json").write_text(text)
    with pytest.raises(StorageError):
        DataFolder.open(tmp_path / "data")


def test_free_space_is_what_the_file_system_says(tmp_path: Path) -> None:
    """Counted in bytes for an unprivileged writer."""
    with DataFolder.open(tmp_path / "data") as folder:
        assert 0 < folder.free_bytes() < 1 << 60
