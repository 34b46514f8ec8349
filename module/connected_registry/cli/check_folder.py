"""Checks of the data folder and the disk below it. Each looks and changes nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from connected_registry.cli.finding import Finding, ok, problem, warning
from connected_registry.cli.output import human_bytes
from connected_registry.policy.storage import StoragePolicy

FOLDER: Final = "data folder"
LOCK: Final = "lock"
DISK: Final = "disk"
INODES: Final = "inodes"
FEW_INODES: Final = 10_000


def check_folder(path: Path) -> Finding:
    """It is there, a folder, ours and writable."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return _absent(path)
    except OSError as error:
        return problem(FOLDER, f"{path}: {error.strerror}", "let this user enter the folders above")
    if stat.S_ISLNK(facts.st_mode):
        return problem(FOLDER, f"{path} is a symbolic link", "name the folder it points to")
    if not stat.S_ISDIR(facts.st_mode):
        return problem(FOLDER, f"{path} is not a folder", "name another one by --data")
    user = os.geteuid()
    if facts.st_uid != user:
        return problem(
            FOLDER,
            f"{path} belongs to user {facts.st_uid}, this process runs as user {user}",
            f"chown -R {user} {path}, or run as user {facts.st_uid}",
        )
    if not os.access(path, os.W_OK | os.X_OK) or _is_read_only(path):
        return problem(FOLDER, f"{path} cannot be written", "mount it for reading and writing")
    if not (path / "replica/folder.json").exists() and _foreign(path):
        return problem(
            FOLDER, f"{path} holds other things and no replica", "choose an empty folder by --data"
        )
    if stat.S_IMODE(facts.st_mode) & 0o077:
        return warning(FOLDER, f"others may enter {path}", f"chmod 700 {path}")
    return ok(FOLDER, str(path))


def _absent(path: Path) -> Finding:
    above = next(each for each in path.absolute().parents if each.exists())
    if os.access(above, os.W_OK):
        return ok(FOLDER, f"{path} is not there yet; it is made at the first start")
    return problem(
        FOLDER,
        f"{path} is not there, and user {os.geteuid()} cannot make it in {above}",
        f"mkdir {path} and chown it to user {os.geteuid()}, or mount a volume there",
    )


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _foreign(path: Path) -> bool:
    ours = {"replica", "blobs", "index.json", "oci-layout", "lost+found"}
    return bool({entry.name for entry in path.iterdir()} - ours)


def check_lock(path: Path, *, answers: bool) -> Finding:
    """A replica that holds the folder also answers on its control socket."""
    holder = lock_holder(path / "replica/lock")
    if answers:
        return ok(LOCK, "a replica runs on the folder and answers")
    if holder is None:
        return ok(LOCK, "no replica runs on the folder")
    return problem(
        LOCK,
        f"process {holder} holds the folder and does not answer on its control socket",
        f"wait if it is starting or stopping; otherwise look at it (ps {holder}) and end it",
    )


def lock_holder(lock: Path) -> int | None:
    """The process that has ``lock``, by the kernel's own list; looking does not take it."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        parts = line.split()
        if "FLOCK" in parts and parts[-3].rpartition(":")[2] == str(inode):
            return int(parts[-4])
    return None


def check_disk(path: Path, policy: StoragePolicy) -> Finding:
    """More than the reserve is free."""
    facts = os.statvfs(_existing(path))
    free, whole = facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize
    told = f"{human_bytes(free)} of {human_bytes(whole)} are free"
    reserve = human_bytes(policy.reserve_bytes)
    if free <= policy.reserve_bytes:
        return problem(
            DISK,
            f"{told}, {reserve} of them are reserved: nothing can be fetched",
            "free space on the disk, use a larger one, or lower storage.reserveBytes in the twin",
        )
    if free - policy.reserve_bytes < whole // 10:
        return warning(
            DISK, f"{told}, {reserve} of them are reserved", "make room before the next images"
        )
    return ok(DISK, f"{told}, {reserve} of them are reserved")


def check_inodes(path: Path) -> Finding:
    """The file system can take more files."""
    facts = os.statvfs(_existing(path))
    if facts.f_files and facts.f_favail < FEW_INODES:
        return problem(
            INODES,
            f"the file system can take only {facts.f_favail} more files",
            "remove small files from it, or make it anew with more inodes",
        )
    return ok(INODES, f"{facts.f_favail} free" if facts.f_files else "without limit")


def _existing(path: Path) -> Path:
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
