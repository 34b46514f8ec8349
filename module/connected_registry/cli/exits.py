"""Exit codes of every command, the same everywhere."""

from __future__ import annotations

from enum import IntEnum

from connected_registry.errors import (
    BundleInvalid,
    ConfigurationError,
    FolderInUse,
    ParentError,
    ReplicaError,
    StorageError,
)


class Exit(IntEnum):
    """What a command's exit code tells a script."""

    OK = 0
    NO = 1  # the answer is no: sync failed, image incomplete, not in sync
    USAGE = 2  # a wrong argument, setting or twin value
    OFFLINE = 3  # the parent could not be reached
    BUSY = 4  # the data folder is held by a process that does not answer
    FAILED = 5  # the data folder or the replica itself failed
    INTERRUPTED = 130


def exit_for(error: ReplicaError) -> Exit:
    """The exit code for an error that ended a command."""
    if isinstance(error, ConfigurationError):
        return Exit.USAGE
    if isinstance(error, BundleInvalid):
        return Exit.NO
    if isinstance(error, ParentError):
        return Exit.OFFLINE
    if isinstance(error, FolderInUse):
        return Exit.BUSY
    if isinstance(error, StorageError):
        return Exit.FAILED
    return Exit.FAILED
