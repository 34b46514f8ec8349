"""A promise between processes that no content file is removed while somebody copies them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connected_registry.errors import Conflict
from connected_registry.storage import disk


def lease_file(folder: Path) -> Path:
    """Where the promise is made."""
    return folder / "replica" / "lease"


@contextmanager
def may_remove(folder: Path) -> Iterator[bool]:
    """Whether files may be removed just now; nobody can begin to copy meanwhile."""
    with disk.disk_errors("cannot ask whether a backup is being made"):
        descriptor = disk.resume(lease_file(folder))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def nothing_removed(folder: Path) -> Iterator[None]:
    """Keep every content file that is there. Several may ask for it at once.

    Raises `Conflict` where files are being removed for longer than a moment.
    """
    with disk.disk_errors("cannot hold the data folder still"):
        descriptor = disk.resume(lease_file(folder))
    try:
        try:
            # Removals hold it for one small batch at a time.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:
            raise Conflict("files are being removed: try again") from error
        yield
    finally:
        os.close(descriptor)
