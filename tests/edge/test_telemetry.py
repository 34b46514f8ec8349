"""Events."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from connected_registry.edge.telemetry import (
    EVENTS,
    ArtifactPushed,
    ConnectedRegistry,
    Event,
    Target,
    Usage,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_event_of_the_contract_is_there() -> None:
    """The names are the contract's."""
    assert list(EVENTS) == [
        "syncStarted",
        "syncCompleted",
        "syncFailed",
        "imageAvailable",
        "imageRemoved",
        "artifactPushed",
        "artifactDeleted",
        "usage",
        "stateChanged",
        "storagePressure",
        "integrityFailure",
        "pushConflict",
        "accessDenied",
    ]


def test_artifact_events_have_the_original_s_payload() -> None:
    """Consumers of Azure's notifications find the keys that they know."""
    target = Target(media_type="m", size=1, digest="sha256:x", repository="a", tag="1", length=1)
    event = ArtifactPushed(
        id="1", timestamp=NOW, target=target, connected_registry=ConnectedRegistry(name="plant7")
    )
    stored = event.stored(NOW)
    assert (stored.name, stored.severity) == ("artifactPushed", "information")
    assert json.loads(stored.body) == {
        "id": "1",
        "timestamp": "2026-01-01T00:00:00Z",
        "action": "push",
        "target": {
            "mediaType": "m",
            "size": 1,
            "digest": "sha256:x",
            "repository": "a",
            "tag": "1",
            "length": 1,
        },
        "connectedregistry": {"name": "plant7"},
    }


def test_two_events_have_two_ids() -> None:
    """A receiver can tell a repetition from a second event."""
    event = Usage(since=NOW, until=NOW)
    assert event.stored(NOW).id != event.stored(NOW).id


@pytest.mark.parametrize("event", EVENTS.values())
def test_every_event_is_named_and_explained(event: type[Event]) -> None:
    """Name and severity are set, and the schema has a description."""
    assert event.name
    assert event.severity
    assert event.__doc__
