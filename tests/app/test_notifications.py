"""Changes become events where a pattern asks for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connected_registry.app.notifications import Notifications
from connected_registry.edge.telemetry import Event
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import ArtifactChange
from storage.store import REPOSITORY, image, open_store

DIGEST = Digest.of(b"{}")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Told:
    """Notifications and what they told."""

    def __init__(self, *patterns: str) -> None:
        self.events: list[Event] = []
        self.notifications = Notifications(
            lambda: patterns, self.events.append, site="plant1", clock=lambda: NOW
        )

    def bodies(self) -> list[dict[str, Any]]:
        """The events as receivers see them."""
        return [event.model_dump(mode="json", by_alias=True) for event in self.events]


def test_a_push_has_the_originals_payload() -> None:
    """Id, time, action, target with size and length, and the name of the site."""
    told = Told("team/*:push")
    told.notifications.changed(
        ArtifactChange("push", RepositoryName("team/app"), Tag("1.0"), DIGEST, "a/b", 2)
    )
    [body] = told.bodies()
    assert body.pop("id")
    assert body == {
        "timestamp": "2026-11-23T00:00:00Z",
        "action": "push",
        "target": {
            "mediaType": "a/b",
            "size": 2,
            "length": 2,
            "digest": DIGEST,
            "repository": "team/app",
            "tag": "1.0",
        },
        "connectedregistry": {"name": "plant1"},
    }
    assert told.events[0].name == "artifactPushed"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [((), 0), (("other:*",), 0), (("team/app:push",), 0), (("team/app:delete",), 1), (("*:*",), 1)],
)
def test_only_what_a_pattern_asks_for_is_told(patterns: tuple[str, ...], expected: int) -> None:
    """Without patterns nothing is."""
    told = Told(*patterns)
    change = ArtifactChange("delete", RepositoryName("team/app"), None, DIGEST, "a/b", 2)
    told.notifications.changed(change)
    assert len(told.events) == expected


def test_what_a_sync_brings_and_takes_is_told_too(tmp_path: Path) -> None:
    """Whoever waits for an image does not care which way it came."""
    told = Told("*:*")
    facts = {"repository": "team/app", "tag": "1.0", "digest": DIGEST, "mediaType": "a/b"}
    with open_store(tmp_path) as store:
        for event in ("imageAvailable", "syncCompleted", "imageRemoved"):
            told.notifications.synced(event, facts, store.registry)
    assert [body["action"] for body in told.bodies()] == ["push", "delete"]


def test_the_registry_tells_what_clients_do_and_nothing_else(tmp_path: Path) -> None:
    """Pushes by tag, deletions with each tag that goes; not what a sync or a purge does."""
    with open_store(tmp_path) as store:
        changes: list[ArtifactChange] = []
        store.registry.told = changes.append
        made = image(b"layer")
        digest = store.push(made, "a", "b")
        store.registry.delete_tag(REPOSITORY, Tag("a"), upward=True)
        store.registry.delete_manifest(REPOSITORY, digest, upward=True)
        store.registry.commit_image(made.commit("c"))
        store.registry.delete_tag(REPOSITORY, Tag("c"))
        store.registry.delete_manifest(REPOSITORY, digest)
    assert [(change.action, change.tag) for change in changes] == [
        ("push", "a"),
        ("push", "b"),
        ("delete", "a"),
        ("delete", "b"),
        ("delete", None),
    ]
