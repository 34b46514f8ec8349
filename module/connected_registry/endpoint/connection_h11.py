"""The connection limits with h11, which bounds sizes itself."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from connected_registry.endpoint.connection import HeadTimer


class H11Connection(H11Protocol):
    """uvicorn's protocol with a limit on the time of a request's head."""

    _timer: HeadTimer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first byte as long as later ones get between requests."""
        super().connection_made(transport)
        self._timer = HeadTimer(self.loop, transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Parse; the time runs while a head is incomplete."""
        super().data_received(data)
        self._timer.run(self.conn.their_state is h11.IDLE and not self.transport.is_closing())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._timer.stop()
        super().connection_lost(exc)
