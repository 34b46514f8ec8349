"""Request bodies, read with limits on size and patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from connected_registry.errors import RegistryError, RequestInvalid, RequestTimeout

BATCH: Final = 1024 * 1024
"""Bytes handed on at once: enough for hashing and writing to be worth a thread."""

PATIENCE: Final = 60.0
"""Seconds in which at least `FLOOR` bytes must arrive."""

FLOOR: Final = 1024

_COURTESY: Final = 256 * 1024
_COURTESY_SECONDS: Final = 2.0
_LINGER: Final = 64 * 1024 * 1024
_LINGER_SECONDS: Final = 5.0


class Body:
    """The body of one request; can be read once."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        self._coding = headers.get(b"transfer-encoding", b"").strip().lower()
        self.length = None if self._coding else _content_length(headers.get(b"content-length"))
        """What was announced; ``None`` where it is sent in chunks."""
        self.finished = self.length == 0
        self._awaits_continue = headers.get(b"expect", b"").lower() == b"100-continue"

    def check(self) -> None:
        """Raise `RequestInvalid` for an encoding of the transfer that nobody decodes."""
        if self._coding not in (b"", b"chunked"):
            raise RequestInvalid("a request body can be sent whole or chunked, not otherwise")

    async def batches(self) -> AsyncGenerator[bytes, None]:
        """The bytes in pieces of about `BATCH`, the next being received while one is used.

        To be closed by who does not read to the end.
        Raises `ClientDisconnect`, after handing on what came before, and `RequestTimeout`.
        """
        source = self._gathered()
        coming = asyncio.ensure_future(anext(source, None))
        try:
            while (batch := await coming) is not None:
                coming = asyncio.ensure_future(anext(source, None))
                yield batch
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, ClientDisconnect, RequestTimeout):
                await coming

    async def _gathered(self) -> AsyncGenerator[bytes, None]:
        pieces: list[bytes] = []
        gathered = 0
        broken: Exception | None = None
        try:
            async for piece in self._pieces():
                pieces.append(piece)
                gathered += len(piece)
                if gathered >= BATCH:
                    yield b"".join(pieces)
                    pieces, gathered = [], 0
        except (ClientDisconnect, RequestTimeout) as error:
            broken = error
        if pieces:
            yield b"".join(pieces)
        if broken is not None:
            raise broken

    async def read(self, limit: int, refusal: RegistryError) -> bytes:
        """The whole body; raises ``refusal`` as soon as it is longer than ``limit``."""
        if self.length is not None and self.length > limit:
            raise refusal
        pieces: list[bytes] = []
        size = 0
        async for piece in self._pieces():
            size += len(piece)
            if size > limit:
                raise refusal
            pieces.append(piece)
        return b"".join(pieces)

    async def settle(self) -> bool:
        """Whether the connection can be used again after an answer that did not need the body.

        A short rest of it is read and dropped for that.
        """
        if self.finished or self.length is None or self.length > _COURTESY:
            return self.finished
        await self._drop(_COURTESY, _COURTESY_SECONDS)
        return self.finished

    async def linger(self) -> None:
        """After an answer, let a client that is still sending get to see it.

        Closing a connection with bytes unread resets it, and with that the answer may be lost.
        """
        await self._drop(_LINGER, _LINGER_SECONDS)

    async def _drop(self, limit: int, seconds: float) -> None:
        if self._awaits_continue:
            return
        size = 0
        with suppress(TimeoutError, ClientDisconnect, RequestTimeout):
            async with asyncio.timeout(seconds):
                async for piece in self._pieces():
                    size += len(piece)
                    if size > limit:
                        break

    async def _pieces(self) -> AsyncIterator[bytes]:
        due = FLOOR
        loop = asyncio.get_running_loop()
        self._awaits_continue = False
        deadline = loop.time() + PATIENCE
        while not self.finished:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self._receive()
            except TimeoutError:
                raise RequestTimeout from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece = message.get("body", b"")
            self.finished = not message.get("more_body", False)
            due -= len(piece)
            if due <= 0:
                due, deadline = FLOOR, loop.time() + PATIENCE
            if piece:
                yield piece


def _content_length(value: bytes | None) -> int:
    """The number; the server has refused what is none."""
    return int(value) if value is not None and value.isdigit() else 0
