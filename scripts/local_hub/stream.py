"""The bytes of a connection, whether they come straight over TLS or inside websocket frames.

IoT Hub offers websockets on port 443 for networks that let nothing else out. Here both share a
port: MQTT begins with 0x10, an HTTP request with a letter.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
from typing import Final

from local_hub.packet import MAX_PACKET, ProtocolError

PATH: Final = "/$iothub/websocket"
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY: Final = 0x2
_PONG: Final = 0xA


class Stream:
    """Bytes straight over TLS."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes = b""
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._begun = begun

    async def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; `EOFError` or `OSError` when the connection ends."""
        begun, self._begun = self._begun[:size], self._begun[size:]
        return begun + await self._reader.readexactly(size - len(begun))

    def write(self, data: bytes) -> None:
        """Send, unless the connection is closing."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def abort(self) -> None:
        """End the connection with no word and nothing more sent."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection after what was written."""
        self._writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


class WebSocketStream(Stream):
    """The bytes inside binary frames (RFC 6455); where frames begin means nothing to MQTT."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._content = bytearray()

    async def handshake(self, begun: bytes) -> None:
        """Answer the request that starts with ``begun``; `ProtocolError` for any other."""
        head = begun + await self._reader.readuntil(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        if request.split(" ")[:2] != ["GET", PATH] or "sec-websocket-key" not in fields:
            super().write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            raise ProtocolError(f"a request other than for {PATH}: {request}")
        digest = hashlib.sha1(
            (fields["sec-websocket-key"] + _GUID).encode(), usedforsecurity=False
        ).digest()
        answer = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
            "Sec-WebSocket-Protocol: mqtt",
            "\r\n",
        ]
        super().write("\r\n".join(answer).encode())

    async def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes of content."""
        while len(self._content) < size:
            await self._read_frame()
        taken = bytes(self._content[:size])
        del self._content[:size]
        return taken

    def write(self, data: bytes) -> None:
        """Send as one binary frame."""
        super().write(_frame(_BINARY, data))

    async def _read_frame(self) -> None:
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(
                await self._reader.readexactly(2 if length == 126 else 8), "big"
            )
        if length > MAX_PACKET or not second & 0x80:
            raise ProtocolError("a frame that is too long or not masked")
        mask = await self._reader.readexactly(4)
        data = await self._reader.readexactly(length)
        plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        match first & 0x0F:
            case 0x0 | 0x2:
                self._content += plain
            case 0x9:
                super().write(_frame(_PONG, plain))
            case 0xA:
                pass
            case _:
                raise EOFError


async def open_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
    """Whichever of the two the client speaks."""
    begun = await reader.readexactly(1)
    if not begun.isalpha():
        return Stream(reader, writer, begun)
    stream = WebSocketStream(reader, writer)
    await stream.handshake(begun)
    return stream


def _frame(kind: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = bytes([126]) + size.to_bytes(2, "big")
    else:
        length = bytes([127]) + size.to_bytes(8, "big")
    return bytes([0x80 | kind]) + length + data
