"""The few file operations that durability rests on, with their failures put into our words.

Order matters more than speed here: a file is written under a private name, synced, renamed to its
final name, and the folder that holds the name is synced, before anything else may rely on it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from connected_registry.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK: Final = 1024 * 1024
"""Bytes read or hashed at a time: large enough that hashing runs without the interpreter lock."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PRIVATE: Final = os.O_CLOEXEC | os.O_NOFOLLOW

Checkpoint = Callable[[str], None]
"""Called with the name of each durable step just done; the fault tests end the process there."""


def pass_by(_step: str) -> None:
    """The checkpoint that lets every step go on."""


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn `OSError` into `DiskFull` or `StorageError`; ``doing`` starts the sentence."""
    try:
        yield
    except OSError as error:
        raise translated(error, doing) from error


def translated(error: OSError, doing: str) -> StorageError:
    """The error of ours that tells what ``error`` means."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"{doing}: the disk is full ({error.strerror}); free space and try again")
    return StorageError(f"{doing}: {error.strerror or error}")


def create(path: Path) -> int:
    """Open a new file for reading and writing; one that exists already is an error."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _PRIVATE, 0o600)


def resume(path: Path) -> int:
    """Open a private file for reading and writing, making it where it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | _PRIVATE, 0o600)


def look(path: Path) -> int:
    """Open a file for reading; a symbolic link in its place is an error."""
    return os.open(path, os.O_RDONLY | _PRIVATE)


def write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """Write everything at ``offset``, however little each call takes."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def read_chunks(descriptor: int, start: int = 0) -> Iterator[memoryview]:
    """The bytes from ``start`` to the end. Each view is valid until the next is asked for."""
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while taken := os.preadv(descriptor, [buffer], start):
        yield view[:taken]
        start += taken


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _PRIVATE)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place(file: Path, descriptor: int, final: Path, checkpoint: Checkpoint = pass_by) -> None:
    """Give a written ``file``, open as ``descriptor``, its ``final`` name; durable on return."""
    checkpoint("written")
    os.fsync(descriptor)
    checkpoint("synced")
    file.replace(final)
    checkpoint("renamed")
    sync_folder(final.parent)
    checkpoint("placed")


def replace_file(
    final: Path, content: bytes | Iterable[bytes], staging: Path, checkpoint: Checkpoint = pass_by
) -> None:
    """Put ``content`` at ``final`` so that a reader sees the old bytes or the new, never a part.

    ``staging`` is a folder of the same file system. Durable on return.
    """
    temporary = staging / f"put-{uuid4().hex}"
    descriptor = create(temporary)
    try:
        offset = 0
        for part in [content] if isinstance(content, bytes) else content:
            write_all(descriptor, part, offset)
            offset += len(part)
        place(temporary, descriptor, final, checkpoint)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
