"""File operations: whole, in order, and in our words when they fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connected_registry.errors import DiskFull, StorageError
from connected_registry.storage import disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_told_apart(number: int) -> None:
    """Space, quota and size limits all mean that something must be freed."""
    with (
        pytest.raises(DiskFull, match="cannot do it: the disk is full"),
        disk.disk_errors("cannot do it"),
    ):
        raise OSError(number, os.strerror(number))


def test_other_errors_name_what_was_tried() -> None:
    """The sentence starts with the deed and ends with the system's reason."""
    with (
        pytest.raises(StorageError, match="cannot do it: Permission denied") as found,
        disk.disk_errors("cannot do it"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert not isinstance(found.value, DiskFull)


def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path) -> None:
    """Written, synced, renamed, folder synced: nothing else is durable."""
    final = tmp_path / "final"
    steps: list[tuple[str, bool]] = []
    disk.replace_file(
        final, b"content", tmp_path, lambda step: steps.append((step, final.exists()))
    )
    assert steps == [("written", False), ("synced", False), ("renamed", True), ("placed", True)]
    assert final.read_bytes() == b"content"


def test_a_failed_replacement_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    """The temporary file goes, the old content stays."""
    (tmp_path / "final").write_bytes(b"old")

    def fail(step: str) -> None:
        raise OSError(errno.ENOSPC, step)

    with pytest.raises(OSError, match="written"):
        disk.replace_file(tmp_path / "final", b"new", tmp_path, fail)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"final": b"old"}


@pytest.mark.parametrize("opening", [disk.look, disk.resume, disk.create])
def test_links_are_never_followed(tmp_path: Path, opening: object) -> None:
    """A link planted in the folder leads nowhere."""
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match=r"File exists|symbolic links"):
        opening(tmp_path / "link")  # type: ignore[operator]


@settings(deadline=None)
@given(st.binary(max_size=5000), st.integers(0, 100))
def test_chunks_give_back_all_bytes(content: bytes, start: int) -> None:
    """From any start to the end."""
    descriptor = os.memfd_create("chunks")
    try:
        disk.write_all(descriptor, content, 0)
        assert (
            b"".join(bytes(part) for part in disk.read_chunks(descriptor, start))
            == (content[start:])
        )
    finally:
        os.close(descriptor)
