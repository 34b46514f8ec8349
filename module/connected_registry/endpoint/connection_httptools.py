"""A connection with httptools: limits, which that has none of, and two ways to answer faster.

Requests that `prompt` can answer are answered before a task begins; and files go out by
`zero_copy`, which the application sees as an ASGI extension. Behind TLS there is only the first.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from connected_registry.endpoint.connection import MAX_HEAD, HeadTimer
from connected_registry.endpoint.prompt import MAX_REQUEST, Answer, Prompt
from connected_registry.endpoint.zero_copy import PATIENCE, ZERO_COPY, Senders, Transfer

_JOINED = 32 * 1024
"""Largest body copied behind its head, in bytes; it costs less than a second buffer."""
_EACH_HEADER = 4
_OVERHEAD_A_BYTE = 16
"""Bytes that a chunked body may spend on framing for each byte of its content."""


class HttptoolsConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits on the size and time of everything that is not content."""

    _timer: HeadTimer
    _prompt: Prompt | None
    _senders: Senders | None
    _transfer: Transfer | None = None
    _between = True
    """Whether all that was received so far is whole requests."""
    _begun = 0
    _given: list[tuple[Answer, bytes, bytes]]
    """What requests in the data at hand were answered with, if that may be remembered."""
    _head_complete = False
    _message_complete = False
    _delivered = 0
    _content = 0
    _overhead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first byte as long as later ones get between requests."""
        super().connection_made(transport)
        self._timer = HeadTimer(self.loop, transport)
        self._given = []
        self._prompt = getattr(self.app, "prompt", None)
        self._senders = getattr(self.app, "senders", None) if self.scheme == "http" else None
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time and what is being sent."""
        self._timer.stop()
        if self._transfer is not None:
            self._transfer.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give a remembered answer, or read the request."""
        prompt = self._prompt
        if prompt is None or not prompt.remembers or not self._between or not self._is_idle():
            self._read(data)
            return
        tick = self.server_state.default_headers
        known = prompt.recall(data, tick)
        if known is not None and not self.transport.is_closing():
            self._write(*known)
            self.on_response_complete()
            return
        self._begun = 0
        self._given.clear()
        self._read(data)
        if self._is_one_answered() and len(data) <= MAX_REQUEST:
            prompt.remember(data, *self._given[0], tick)

    def _read(self, data: bytes) -> None:
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
        self._between = False
        self._begun += 1
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
        self._message_complete = self._between = True
        self._head_complete = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; not in the middle of a file."""
        if self._transfer is not None:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer at once where that is possible; else begin a task."""
        # What others wait behind goes the ordinary way: answers would nest.
        if self._prompt is not None and app is self.app and not self.pipeline:
            answer = self._prompt.answer(cast("Scope", cycle.scope))
            if answer is not None:
                self._give(cycle, answer)
                return
        if self._senders is not None and app is self.app:
            app = _WithZeroCopy(self, cycle, app, self._senders)
        super()._start_asgi_task(cycle, app)

    def _give(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """Write an answer as uvicorn would, in one piece."""
        response = answer.response
        lines = [STATUS_LINE[response.status_code]]
        for name, value in (*self.server_state.default_headers, *response.raw_headers):
            if HEADER_VALUE_RE.search(value):
                raise ValueError("invalid header value")
            lines += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        body = b"" if cycle.scope["method"] == "HEAD" else bytes(response.body)
        assert self._prompt is not None
        self._prompt.count(answer)
        self._write(head, body)
        cycle.response_started = cycle.response_complete = True
        if cycle.keep_alive:
            self._given.append((answer, head, body))
        else:
            self.transport.close()
        self.on_response_complete()

    def _write(self, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def _is_one_answered(self) -> bool:
        """Whether the data at hand was one whole request, which was answered at once."""
        return bool(self._given) and self._begun == 1 and self._between

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


class _WithZeroCopy:
    """The application, shown the extension of `zero_copy` on one connection."""

    def __init__(
        self,
        connection: HttptoolsConnection,
        cycle: RequestResponseCycle,
        app: Any,
        senders: Senders,
    ) -> None:
        self._connection = connection
        self._cycle = cycle
        self._app = app
        self._senders = senders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def extended(message: Message) -> None:
            if message["type"] == ZERO_COPY:
                await self._send_file(message)
                if not message.get("more_body", False):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await send(message)

        await self._app({**scope, "extensions": {ZERO_COPY: {}}}, receive, extended)

    async def _send_file(self, message: Message) -> None:
        cycle, connection = self._cycle, self._connection
        transport = connection.transport
        await self._flush()
        if cycle.disconnected or transport.is_closing():
            cycle.disconnected = True
            return
        if message["count"] > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        transfer = Transfer(
            transport.get_extra_info("socket").fileno(),
            message["file"],
            message.get("offset"),
            message["count"],
        )
        connection._transfer = transfer
        try:
            await self._senders.send(transfer)
        except ConnectionError:
            cycle.disconnected = True
            transport.abort()
        else:
            cycle.expected_content_length -= message["count"]
        finally:
            connection._transfer = None

    async def _flush(self) -> None:
        """Wait until what was written before is on its way."""
        transport, flow = self._connection.transport, self._connection.flow
        if not transport.get_write_buffer_size():
            return
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(0)
        try:
            while transport.get_write_buffer_size() and not transport.is_closing():
                async with asyncio.timeout(PATIENCE):
                    await (flow.drain() if flow.write_paused else asyncio.sleep(0))
        finally:
            transport.set_write_buffer_limits(high, low)
