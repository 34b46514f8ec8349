"""The TLS listener that modules connect to."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Final

from local_hub.connection import Connection
from local_hub.module import Module
from local_hub.packet import ProtocolError
from local_hub.stream import open_stream

MQTT_PORT: Final = 8883
"""Fixed in azure-iot-device; each hub has a loopback address of its own instead of a port."""


def bind_loopback(address: str | None = None, port: int = MQTT_PORT) -> socket.socket:
    """A bound socket on ``address``, or on a free address below 127.0.0.0/8 that is picked."""
    while True:
        host = address or ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((host, port))
        except OSError:
            listener.close()
            if address is not None:
                raise
        else:
            return listener


class Endpoint:
    """Accepts connections; ``stalled`` keeps new ones waiting before the TLS handshake."""

    def __init__(
        self,
        hostname: str,
        find: Callable[[str], Module | None],
        tls: ssl.SSLContext,
    ) -> None:
        self.stalled = False
        self._hostname = hostname
        self._find = find
        self._tls = tls
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._waiting: set[socket.socket] = set()

    def start(self, listener: socket.socket) -> None:
        """Take connections from a bound socket."""
        listener.listen(64)
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def stop(self) -> None:
        """End every connection without a word and close the socket."""
        if self._accepting is None or self._listener is None:
            return
        tasks = {self._accepting, *self._serving}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for waiting in self._waiting:
            waiting.close()
        self._waiting.clear()
        self._listener.close()
        self._listener = self._accepting = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            if self.stalled:
                self._waiting.add(client)
                continue
            task = asyncio.create_task(self._serve(client))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self._tls
            )
        except (OSError, ssl.SSLError):
            client.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            stream = await open_stream(reader, writer)
            await Connection(stream, self._hostname, self._find).serve()
        except (ProtocolError, OSError, EOFError, ValueError):
            writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
