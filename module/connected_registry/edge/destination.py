"""What a session with the hub is told at its start, and what it hands on.

Apart from the session itself, so that nobody imports the SDK without needing it: that takes longer
than everything else at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connected_registry.edge.identity import HubIdentity
from connected_registry.edge.route import HubRoute


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the SDK may take for what."""

    make: timedelta = timedelta(seconds=60)
    connect: timedelta = timedelta(seconds=60)
    call: timedelta = timedelta(seconds=20)
    close: timedelta = timedelta(seconds=3)
    keep_alive: timedelta = timedelta(seconds=30)
    """A connection that went silent is noticed within twice this; also bounds a TLS handshake."""


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A direct method as it came in; ``payload`` is parsed JSON."""

    id: str
    name: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a session goes, as whom, and what it announces."""

    identity: HubIdentity
    route: HubRoute
    model_id: str

    def __str__(self) -> str:
        return f"{self.identity.server}:{self.route.port}"
