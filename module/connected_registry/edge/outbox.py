"""Telemetry on its way out: what an event is, and where it waits until the hub has it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from connected_registry.storage.outbox import StoredEvent

OUTPUT: Final = "events"
"""The module output that routes in the deployment name."""
MAX_BODY: Final = 64 * 1024
"""Bytes of JSON. IoT Hub takes 256 KiB with properties and meters in blocks of 4 KiB."""


class Severity(StrEnum):
    """The custom property ``severity``, for routes."""

    INFORMATION = "information"
    WARNING = "warning"
    ERROR = "error"


def new_event(
    name: str, body: Mapping[str, Any], *, at: datetime, severity: Severity
) -> StoredEvent:
    """An event with a new id that stays the same however often it is sent.

    A body over `MAX_BODY` is replaced by a note of its size: an event is not worth losing the
    connection for.
    """
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    size = len(text.encode())
    if size > MAX_BODY:
        text = json.dumps({"omitted": f"the event had {size} bytes of {MAX_BODY}"})
    return StoredEvent(
        id=str(uuid.uuid4()), name=name, severity=severity.value, body=text, created_at=at
    )


class Outbox(Protocol):
    """A bounded, durable queue; synchronous and thread-safe. May raise `StorageError`."""

    @property
    def dropped(self) -> int:
        """How many events were given up because the queue was full, since the data folder began."""

    def append(self, event: StoredEvent) -> None:
        """Keep the event durably; the oldest are dropped and counted when there are too many."""

    def peek(self, limit: int) -> Sequence[StoredEvent]:
        """The oldest events, in the order in which they were appended."""

    def remove(self, ids: Sequence[str]) -> None:
        """Forget events that the hub has; unknown ids are fine."""

    def __len__(self) -> int:
        """How many wait."""
