from __future__ import annotations

import json
from datetime import UTC, datetime

from connected_registry.edge.outbox import MAX_BODY, Severity, new_event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_events_have_ids_of_their_own() -> None:
    """Two events with the same content are two events."""
    events = [new_event("usage", {}, at=NOW, severity=Severity.WARNING) for _ in range(2)]

    assert events[0].id != events[1].id
    assert (events[0].severity, events[0].body) == ("warning", "{}")


def test_a_body_that_is_too_large_is_replaced_by_a_note() -> None:
    """The event still says that it happened."""
    event = new_event("usage", {"x": "é" * MAX_BODY}, at=NOW, severity=Severity.ERROR)

    assert event.size < 1000
    assert str(MAX_BODY) in json.loads(event.body)["omitted"]
