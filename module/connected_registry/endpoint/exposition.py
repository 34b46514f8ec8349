"""The Prometheus page, on a port of its own: collectors speak plain HTTP and have no token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connected_registry.endpoint.answer import answer_error
from connected_registry.errors import AddressUnknown, Unsupported

PATH: Final = "/metrics"


def create_exposition(render: Callable[[], Awaitable[bytes]], content_type: str) -> ASGIApp:
    """``GET /metrics`` answers what ``render`` gives; there is nothing else."""

    async def exposition(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if scope["path"] != PATH:
            response = answer_error(AddressUnknown())
        elif request.method not in {"GET", "HEAD"}:
            response = answer_error(Unsupported(headers={"Allow": "GET, HEAD"}))
        else:
            # Set as a header and not as a media type, to which a charset would be added.
            response = Response(await render(), headers={"Content-Type": content_type})
        await response(scope, receive, send)

    return exposition
