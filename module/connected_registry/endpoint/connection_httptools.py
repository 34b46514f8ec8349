"""The connection limits with httptools, which bounds nothing itself."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from connected_registry.endpoint.connection import MAX_HEAD, HeadTimer

_EACH_HEADER = 4
_OVERHEAD_A_BYTE = 16
"""Bytes that a chunked body may spend on framing for each byte of its content."""


class HttptoolsConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits on the size and time of everything that is not content."""

    _timer: HeadTimer
    _head_complete = False
    _message_complete = False
    _delivered = 0
    _content = 0
    _overhead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first byte as long as later ones get between requests."""
        super().connection_made(transport)
        self._timer = HeadTimer(self.loop, transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._timer.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then judge how much of what came so far was not content.

        What surrounds content is the head, and with a chunked body the sizes, extensions and
        trailers, of which the parser keeps no count.
        """
        self._message_complete = False
        self._delivered = 0
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._message_complete:
            self._overhead = self._content = 0
        else:
            self._overhead += len(data) - self._delivered
            self._content += self._delivered
        if self._overhead > MAX_HEAD + _OVERHEAD_A_BYTE * self._content:
            self._refuse()
            return
        self._timer.run(self._is_idle() and not self._head_complete)

    def on_message_begin(self) -> None:
        """A request line."""
        self._head_complete = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers come here too and mean nothing: they may not add to the headers."""
        if not self._head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head as a whole; raising makes it an invalid request."""
        self._head_complete = True
        size = sum(len(name) + len(value) + _EACH_HEADER for name, value in self.headers)
        if size + len(self.url) > MAX_HEAD:
            raise ValueError("the head of the request is too large")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Content."""
        self._delivered += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._message_complete = True
        self._head_complete = False
        super().on_message_complete()

    def _is_idle(self) -> bool:
        """Whether no request is being answered; there is no cycle before the first."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _refuse(self) -> None:
        """431 where nothing is being answered; the end of the connection in any case."""
        if self._is_idle():
            self.transport.write(
                STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
        self.transport.close()
