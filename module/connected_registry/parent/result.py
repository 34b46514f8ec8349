"""How a sync ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.ledger import RunState


class SyncState(StrEnum):
    """The names of Azure's ``connectedRegistries`` resource."""

    NOT_ACTIVATED = "NotActivated"
    """It has never run."""
    PENDING = "Pending"
    """It has not run yet, or was paused or out of budget and goes on later."""
    SYNCING = "Syncing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    """The window closed before all was done; the next one goes on."""


_STOPPED: Final = {
    "window": SyncState.TIMED_OUT,
    "budget": SyncState.PENDING,
    "paused": SyncState.PENDING,
    "superseded": SyncState.PENDING,
}

MAX_NAMED: Final = 50
"""Most failures that a result names one by one."""


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """An image, repository or rule that did not come in, and why."""

    name: str
    reason: str
    detail: str
    repository: RepositoryName | None = None
    tag: Tag | None = None

    def to_json(self) -> dict[str, Any]:
        """The form of methods and reports."""
        return {"image": self.name, "reason": self.reason, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class SyncResult:
    """One finished run."""

    correlation_id: str
    trigger: str
    started_at: datetime
    ended_at: datetime
    images_fetched: int = 0
    images_current: int = 0
    images_left: int = 0
    """Planned, and neither fetched nor failed: the run was stopped before."""
    blobs_fetched: int = 0
    bytes_fetched: int = 0
    """Of blobs, as far as they were new here."""
    removed: int = 0
    held_back: int = 0
    failures: tuple[ImageFailure, ...] = ()
    stopped: str | None = None
    """window, budget, disk, paused, cancelled, or superseded by new orders."""
    error: str | None = None
    """The sentence of what ended the whole run; None when it came to its end."""
    error_kind: str | None = None
    """offline, unauthorized, throttled, failed, lying, not found, or disk."""
    retry_after: float | None = None

    @property
    def state(self) -> SyncState:
        """The outcome in one word."""
        if self.error is not None:
            return SyncState.FAILED
        if self.stopped is not None:
            return _STOPPED.get(self.stopped, SyncState.FAILED)
        return SyncState.FAILED if self.failures else SyncState.SUCCEEDED

    @property
    def offline(self) -> bool:
        """Whether the parent could not be reached."""
        return self.error_kind == "offline"

    @property
    def run_state(self) -> RunState:
        """The word the ledger keeps."""
        if self.stopped is not None and self.error is None:
            return "stopped"
        return "succeeded" if self.state is SyncState.SUCCEEDED else "failed"

    @property
    def summary(self) -> str | None:
        """What went wrong in one sentence; None when nothing did."""
        if self.error is not None:
            return self.error
        if self.failures:
            first = self.failures[0]
            more = f", and {len(self.failures) - 1} more" if len(self.failures) > 1 else ""
            return f"{first.name}: {first.reason}: {first.detail}{more}"
        return f"stopped: {self.stopped}" if self.stopped is not None else None

    def to_json(self) -> dict[str, Any]:
        """The result of the direct method ``syncNow`` and of the command ``sync``."""
        return {
            "correlationId": self.correlation_id,
            "trigger": self.trigger,
            "state": self.state.value,
            "startedAt": self.started_at.isoformat(),
            "endedAt": self.ended_at.isoformat(),
            "imagesFetched": self.images_fetched,
            "imagesCurrent": self.images_current,
            "imagesLeft": self.images_left,
            "blobsFetched": self.blobs_fetched,
            "bytesFetched": self.bytes_fetched,
            "removed": self.removed,
            "heldBack": self.held_back,
            "failures": [failure.to_json() for failure in self.failures[:MAX_NAMED]],
            "failuresOmitted": max(len(self.failures) - MAX_NAMED, 0),
            "stopped": self.stopped,
            "error": self.summary,
            "offline": self.offline,
        }
