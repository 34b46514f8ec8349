"""How a command reaches the replica whose data folder it was given.

A running replica holds its folder and listens on a control socket in it; where none runs, the
command opens the folder itself. Both answer the same direct methods.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from connected_registry.errors import FolderInUse, ReplicaError

CONTROL_SOCKET = Path("replica") / "control.sock"


class Connection(Protocol):
    """Something that answers direct methods."""

    async def invoke(self, name: str, payload: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call a method; the status is an HTTP status, as in IoT Hub's direct methods."""


class SocketConnection:
    """A running replica, reached through its control socket."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def invoke(self, name: str, payload: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call a method of the running replica; `ReplicaError` when it went away meanwhile."""
        try:
            answer = await self._client.post(f"/methods/{name}", json=payload)
        except httpx.HTTPError as error:
            raise ReplicaError(f"the running replica stopped answering: {error}") from error
        document = answer.json()
        return int(document["status"]), document["body"]


@asynccontextmanager
async def connect_socket(data: Path) -> AsyncIterator[SocketConnection | None]:
    """The running replica on ``data``, or None when nothing listens there."""
    try:
        folder = os.open(data / CONTROL_SOCKET.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        # Through the folder's descriptor, because a socket's path may not exceed 107 bytes.
        path = f"/proc/self/fd/{folder}/{CONTROL_SOCKET.name}"
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://replica", timeout=httpx.Timeout(30.0)
        ) as client:
            try:
                await client.post("/methods/ping", json={})
            except httpx.ConnectError:
                yield None
            else:
                yield SocketConnection(client)
    finally:
        os.close(folder)


def explain_lock(error: FolderInUse) -> ReplicaError:
    """Say what to do when the folder is held but nobody answers on its socket."""
    return ReplicaError(
        f"{error}; it does not answer on its control socket: it may be starting or stopping, "
        "try again in a moment"
    )
