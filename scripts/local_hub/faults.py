"""What can be made to go wrong with one module's connection."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass
class Faults:
    """Switches that hold until they are flipped back. All off: the hub behaves."""

    refuse: int = 0
    """Answer CONNECT with this CONNACK code: 3 unavailable, 4 bad credentials, 5 not authorised."""
    stall: bool = False
    """Read everything and answer nothing, as on a half-open connection."""
    lose_subscriptions: bool = False
    """Never answer SUBSCRIBE."""
    lose_acknowledgements: bool = False
    """Take messages and never acknowledge them."""
    lose_twin_answers: bool = False
    """Acknowledge twin requests on the MQTT level and never answer them."""
    apply_unanswered: bool = False
    """With `lose_twin_answers`: a reported patch takes effect although its answer is lost."""
    twin_status: int = 0
    """Refuse twin requests with this status, such as 429 or 500."""
    twin_delay: float = 0.0
    """Seconds before a twin request is answered."""
    twin_unknown: bool = False
    """Answer a twin without versions, as an edgeHub does that never reached the cloud."""
    duplicate_desired: bool = False
    """Send each desired patch twice."""
    reorder_desired: bool = False
    """Hold a desired patch back until the next one has been sent."""
    lose_desired: bool = False
    """Change the twin and tell the module nothing."""

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Self:
        """Raise `ValueError` that names the switch for an unknown name or a wrong type."""
        known = {field.name: type(getattr(cls(), field.name)) for field in fields(cls)}
        for name, value in document.items():
            if name not in known:
                raise ValueError(f"{name}: no such fault; there are {', '.join(known)}")
            wanted = known[name]
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise ValueError(f"{name}: {value!r} is not a {wanted.__name__}")
        return cls(**document)
