"""Space kept for the moment when there is none: a deletion must be written down to be done."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from connected_registry.storage import disk
from connected_registry.storage.folder import DataFolder

SIZE: Final = 4 * 1024 * 1024


class Ballast:
    """A file that is dropped when the disk is full and made again when it is not."""

    def __init__(self, folder: DataFolder, size: int = SIZE) -> None:
        self._path = folder.replica / "ballast"
        self._size = size

    def take(self) -> bool:
        """Make the file, where there is room for it; whether it is there."""
        try:
            descriptor = disk.resume(self._path)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.drop()
            return False
        return True

    def drop(self) -> bool:
        """Give the space free; whether there was any to give."""
        with contextlib.suppress(OSError):
            held = self._path.stat().st_size > 0
            self._path.unlink()
            return held
        return False
