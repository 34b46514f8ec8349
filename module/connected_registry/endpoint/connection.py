"""Limits on what a connection may send before it is a request: uvicorn has none of its own.

There is one form for httptools, and one for h11 where no wheel of the first exists (armv7).
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Final

MAX_HEAD: Final = 64 * 1024
"""Most bytes of request line and headers; and of what surrounds the body when it is chunked."""

HEAD_SECONDS: Final = 30.0
"""Time for a request line and headers to arrive, from their first byte."""


class HeadTimer:
    """Closes a connection that began a request and did not get through its head."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._handle: asyncio.TimerHandle | None = None

    def run(self, due: bool) -> None:
        """Start, where a head is ``due`` and the time does not run yet; else stop."""
        if due and self._handle is None:
            self._handle = self._loop.call_later(HEAD_SECONDS, self._transport.close)
        elif not due:
            self.stop()

    def stop(self) -> None:
        """Stop."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def http_protocol() -> type[asyncio.Protocol]:
    """The faster protocol that this machine has."""
    if find_spec("httptools") is not None:
        from connected_registry.endpoint.connection_httptools import HttptoolsConnection

        return HttptoolsConnection
    from connected_registry.endpoint.connection_h11 import H11Connection

    return H11Connection
