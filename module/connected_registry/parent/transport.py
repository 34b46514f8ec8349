"""What every request to the parent passes, whoever makes it: counting, limits and suspicion.

It sits below authentication and redirects, so that token answers, error bodies and storage hosts
are held to the same rules as manifests.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from connected_registry.errors import ParentFailed, ParentLied, ParentOffline
from connected_registry.parent.address import ParentAddress, is_forbidden_peer, shown
from connected_registry.parent.limits import Limits

BODY_LIMIT = "body_limit"
"""Request extension: the most bytes a good answer may have; None for blobs, whose size is known."""


@dataclass(slots=True)
class Tally:
    """What went over the link since the start: requests sent, connections made, body bytes got."""

    requests: int = 0
    connections: int = 0
    bytes_received: int = 0


class _Stream(Protocol):
    def get_extra_info(self, info: str) -> Any: ...
    async def aclose(self) -> None: ...


class GuardedTransport(httpx.AsyncBaseTransport):
    """Another transport, watched.

    Raises `ParentLied` for a compressed answer (digests and lengths are those of plain bytes, and
    a small compressed body can be a huge one), and `ParentFailed` for a connection to an address
    that registries may not name.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, address: ParentAddress, limits: Limits, tally: Tally
    ) -> None:
        self._inner = inner
        self._address = address
        self._limits = limits
        self._tally = tally

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and hand back its answer with a guarded body."""
        self._tally.requests += 1
        request.extensions = {**request.extensions, "trace": self._watch(request.url)}
        response = await self._inner.handle_async_request(request)
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            await response.aclose()
            raise ParentLied(
                f"{shown(request.url)} answered compressed ({encoding[:20]!a}) although it was"
                " asked not to; is something between us and the parent rewriting answers?"
            )
        assert isinstance(response.stream, httpx.AsyncByteStream)
        limit = self._limits.error_body
        if response.is_success:
            limit = request.extensions.get(BODY_LIMIT, limit)
        response.stream = GuardedBody(
            response.stream, shown(request.url), limit, self._limits, self._tally
        )
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    def _watch(self, url: httpx.URL) -> Any:
        """httpcore calls this around each step; the peer is checked before a byte is sent to it.

        Checking the connection that was made, rather than the name before, leaves no gap in which
        the name could come to mean another address.
        """
        meant = self._address.is_configured(url) or self._address.proxy is not None

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event != "connection.connect_tcp.complete":
                return
            self._tally.connections += 1
            stream: _Stream = info["return_value"]
            peer = str((stream.get_extra_info("server_addr") or ("",))[0])
            if not meant and is_forbidden_peer(peer, loopback=self._address.is_local):
                await stream.aclose()
                raise ParentFailed(
                    f"{shown(url)} is at {peer}, an address that registries may not send us to"
                )

        return trace


class GuardedBody(httpx.AsyncByteStream):
    """A body that is counted, has an end, and arrives at a bearable pace.

    Only time spent waiting for the peer counts against it: a reader that is slow itself, because
    of a rate limit or a slow disk, is not the parent's fault.
    """

    def __init__(
        self,
        inner: httpx.AsyncByteStream,
        host: str,
        limit: int | None,
        limits: Limits,
        tally: Tally,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._host = host
        self._limit = limit
        self._limits = limits
        self._tally = tally

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = window_bytes = 0
        waited = 0.0
        asked = self._clock()
        async for chunk in self._inner:
            waited += self._clock() - asked
            received += len(chunk)
            window_bytes += len(chunk)
            self._tally.bytes_received += len(chunk)
            if self._limit is not None and received > self._limit:
                raise ParentFailed(f"{self._host} sent more than {self._limit} bytes in one answer")
            if waited >= self._limits.floor_window:
                if window_bytes < waited * self._limits.floor:
                    raise ParentOffline(
                        f"{self._host} sent only {window_bytes} bytes in {waited:.0f} seconds"
                    )
                window_bytes, waited = 0, 0.0
            yield chunk
            asked = self._clock()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._inner.aclose()
