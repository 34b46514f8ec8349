"""A message that a module sent, taken apart."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

KEPT: Final = 2_000
"""Messages remembered; the oldest are forgotten."""


def parse_bag(text: str) -> dict[str, str]:
    """The properties at the end of a topic: ``a=1&b=2``, both sides percent-encoded."""
    pairs = (pair.partition("=") for pair in text.strip("/").removeprefix("?").split("&") if pair)
    return {unquote(key): unquote(value) for key, _, value in pairs}


@dataclass(frozen=True)
class Telemetry:
    """One message; ``system`` holds the properties whose names start with ``$.``."""

    sequence: int
    device: str
    module: str
    body: bytes
    properties: dict[str, str]
    system: dict[str, str]
    received_at: datetime

    @property
    def message_id(self) -> str | None:
        """What the module set to tell repetitions apart."""
        return self.system.get("$.mid")

    @property
    def output(self) -> str | None:
        """The module output that routes name."""
        return self.system.get("$.on")

    @property
    def content(self) -> Any:
        """The body as JSON, or as text where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body.decode(errors="replace")

    def document(self) -> dict[str, Any]:
        """What the service API shows."""
        return {
            "sequence": self.sequence,
            "device": self.device,
            "module": self.module,
            "receivedAt": self.received_at.isoformat(),
            "output": self.output,
            "messageId": self.message_id,
            "contentType": self.system.get("$.ct"),
            "contentEncoding": self.system.get("$.ce"),
            "properties": self.properties,
            "body": self.content,
        }


class Journal:
    """The last messages of all modules, numbered from 1 in the order of arrival."""

    def __init__(self) -> None:
        self._messages: deque[Telemetry] = deque(maxlen=KEPT)
        self._last = 0
        self._grown = asyncio.Event()

    def number(self) -> int:
        """The number for the next message."""
        self._last += 1
        return self._last

    def add(self, message: Telemetry) -> None:
        """Remember a message and wake those who wait."""
        self._messages.append(message)
        self._grown.set()
        self._grown = asyncio.Event()

    async def after(self, sequence: int) -> list[Telemetry]:
        """The messages with a higher number; waits until there is one."""
        while True:
            found = [message for message in self._messages if message.sequence > sequence]
            if found:
                return found
            await self._grown.wait()
