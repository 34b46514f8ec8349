"""Which changes of images are told upwards, as the twin's ``notifications`` have it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import uuid4

from connected_registry.edge.telemetry import (
    ArtifactDeleted,
    ArtifactPushed,
    ConnectedRegistry,
    Event,
    Target,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.notification import NotificationPattern
from connected_registry.storage.content import ArtifactChange
from connected_registry.storage.registry import Registry


class Notifications:
    """Turns changes that match a pattern into events with the original's payload.

    A change counts whether a client made it here or a sync brought it: whoever waits for an image
    on site does not care which way it came. ``tell`` may be called in any thread.
    """

    def __init__(
        self,
        patterns: Callable[[], tuple[str, ...]],
        tell: Callable[[Event], None],
        *,
        site: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._patterns = patterns
        self._tell = tell
        self._site = ConnectedRegistry(name=site)
        self._clock = clock

    def changed(self, change: ArtifactChange) -> None:
        """Tell of a change if a pattern asks for it."""
        patterns = _parsed(self._patterns())
        named = (change.repository, change.tag, change.digest, change.action)
        if not any(pattern.matches(*named) for pattern in patterns):
            return
        event = ArtifactPushed if change.action == "push" else ArtifactDeleted
        self._tell(
            event(
                id=str(uuid4()),
                timestamp=self._clock(),
                target=Target(
                    media_type=change.media_type,
                    size=change.size,
                    digest=change.digest,
                    repository=change.repository,
                    tag=change.tag,
                    length=change.size,
                ),
                connected_registry=self._site,
            )
        )

    def synced(self, event: str, facts: dict[str, Any], registry: Registry) -> None:
        """Tell of what a sync brought or took away, as the synchronizer announced it."""
        if event not in {"imageAvailable", "imageRemoved"}:
            return
        repository, tag = RepositoryName(facts["repository"]), Tag(facts["tag"])
        digest = Digest(facts["digest"])
        known = registry.cached(repository, digest)
        self.changed(
            ArtifactChange(
                "push" if event == "imageAvailable" else "delete",
                repository,
                tag,
                digest,
                facts.get("mediaType") or (known.media_type if known is not None else ""),
                facts.get("size") or (known.size if known is not None else 0),
            )
        )


@lru_cache(maxsize=4)
def _parsed(patterns: tuple[str, ...]) -> tuple[NotificationPattern, ...]:
    return tuple(NotificationPattern.parse(text) for text in patterns)
