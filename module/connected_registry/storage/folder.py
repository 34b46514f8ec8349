"""The data folder: one replica's whole state, and an OCI image layout that other tools can read.

::

    oci-layout  index.json  blobs/sha256/<hex>  blobs/sha512/<hex>     the image layout
    replica/folder.json                                              says that the folder is ours
    replica/lock  replica/control.sock  replica/registry.db
    replica/uploads/<uuid>  replica/partials/<algorithm>-<hex>

No name in it is ever made from what a client or a parent sent, except a checked digest's hex.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connected_registry.errors import FolderInUse, SchemaTooNew, StorageError
from connected_registry.oci.digest import ENCODED
from connected_registry.storage import disk

FORMAT: Final = 1
"""Version of the folder's form; the database has its own."""

_OURS: Final = {"folder.json", "lock", "control.sock", "uploads", "partials"}
_IGNORED: Final = {"lost+found"}
_EMPTY_INDEX: Final = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [],
}


class DataFolder:
    """An open data folder. Held until closed: a second process gets `FolderInUse`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock
        self.replica = path / "replica"
        self.blobs = path / "blobs"
        self.index = path / "index.json"
        self.uploads = self.replica / "uploads"
        self.partials = self.replica / "partials"
        self.database = self.replica / "registry.db"
        self.control_socket = self.replica / "control.sock"

    @classmethod
    def open(cls, path: Path, *, adopt: bool = False) -> Self:
        """Lock the folder and complete its layout, making it where it does not exist.

        Raises `FolderInUse`; `StorageError` for a symbolic link, another user's folder or one
        with foreign content (with ``adopt`` an image layout without our part is taken over);
        `SchemaTooNew` for a later form; `DiskFull`.
        """
        path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        with disk.disk_errors(f"cannot use data folder {path}"):
            _make_root(path)
            _refuse_foreign_content(path, adopt)
            _make_private(path / "replica")
            lock = _take_lock(path)
            try:
                folder = cls(path, lock)
                folder._complete()
            except BaseException:
                os.close(lock)
                raise
        return folder

    def close(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def free_bytes(self) -> int:
        """What an unprivileged writer may still use of the file system."""
        with disk.disk_errors(f"cannot ask for the free space of {self.path}"):
            facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def _complete(self) -> None:
        """Make what is missing, the marker last, so that a cut here is only started again."""
        for part in (self.uploads, self.partials, self.blobs):
            _make_private(part)
        for algorithm in ENCODED:
            _make_private(self.blobs / algorithm)
            # A crashed process may have renamed content here and not synced the name.
            disk.sync_folder(self.blobs / algorithm)
        if not self.index.exists():
            disk.replace_file(self.index, _as_json(_EMPTY_INDEX), self.partials)
        layout = self.path / "oci-layout"
        if not layout.exists():
            disk.replace_file(layout, _as_json({"imageLayoutVersion": "1.0.0"}), self.partials)
        marker = self.replica / "folder.json"
        if not marker.exists():
            disk.sync_folder(self.blobs)
            disk.sync_folder(self.path.parent)
            disk.replace_file(marker, _as_json({"format": FORMAT}), self.partials)


def _make_root(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_private(path)


def _make_private(path: Path) -> None:
    """A real folder of this user's that nobody else can enter."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        raise StorageError(
            f"cannot use data folder: {path} is a symbolic link: name the real folder instead"
        )
    if not stat.S_ISDIR(facts.st_mode):
        raise StorageError(f"cannot use data folder: {path} is not a folder: choose another name")
    if facts.st_uid != os.geteuid():
        raise StorageError(
            f"cannot use data folder: {path} belongs to user {facts.st_uid} and this process runs "
            f"as user {os.geteuid()}: change its owner or choose another folder"
        )
    if stat.S_IMODE(facts.st_mode) != 0o700:
        path.chmod(0o700)


def _refuse_foreign_content(path: Path, adopt: bool) -> None:
    marker = path / "replica" / "folder.json"
    if marker.is_file():
        _refuse_newer(marker)
        return
    found = {entry.name for entry in path.iterdir()} - _IGNORED
    if adopt and "oci-layout" in found:
        return
    inside = {entry.name for entry in (path / "replica").glob("*")}
    unfinished = {"replica", "blobs", "index.json", "oci-layout"}
    started = "replica" in found and found <= unfinished and inside <= _OURS
    if found and not started:
        raise StorageError(
            f"cannot use data folder: {path} holds other things ({min(found)!r} for one) and no "
            "replica: choose an empty folder"
        )


def _refuse_newer(marker: Path) -> None:
    try:
        form = json.loads(marker.read_bytes())["format"]
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f'cannot use data folder: {marker} is damaged: it should read {{"format": {FORMAT}}}'
        ) from None
    if not isinstance(form, int) or form > FORMAT:
        raise SchemaTooNew(
            f"{marker.parent.parent} was written by a newer release (format {form}, this one "
            f"knows {FORMAT}): use that release"
        )


def _take_lock(path: Path) -> int:
    lock = disk.resume(path / "replica" / "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise FolderInUse(
            f"data folder {path} is in use by another process (pid {holder}): stop that one or "
            "choose another folder"
        ) from None
    except BaseException:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
