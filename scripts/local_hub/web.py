"""An ASGI application on a socket inside our own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell `WebServer` when connections are taken."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that runs us."""
        yield


class WebServer:
    """``async with WebServer(app, listener): ...``; leaving ends every connection."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> WebServer:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        await self._server.ready.wait()
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._server.should_exit = True
        self._server.force_exit = True
        await self._task
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        requests = list(self._server.server_state.tasks)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        self._listener.close()


def tcp_listener(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 picks a free one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def unix_listener(path: Path) -> socket.socket:
    """A bound socket at ``path``, open to every user as the one of IoT Edge is."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    return listener
