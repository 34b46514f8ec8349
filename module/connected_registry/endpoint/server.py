"""How the endpoint listens: uvicorn with the limits and patience that registry clients need."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from connected_registry.endpoint.connection import MAX_HEAD, http_protocol

KEEP_ALIVE: Final = 180
"""Seconds an idle connection stays open. Clients hold theirs for up to 120 and cannot always
repeat a request that meets a closing one."""

SHUTDOWN: Final = 5
"""Seconds that requests under way get at the end; IoT Edge kills after ten."""


def serve_config(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    uds: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> uvicorn.Config:
    """Settings for ``uvicorn.Server``: one process, HTTP/1.1, our own logs.

    Listens on ``host`` and ``port``, or on the Unix socket ``uds``. ``tls`` may be reloaded by its
    owner while connections are open.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        uds=None if uds is None else str(uds),
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        http=http_protocol(),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        # Forwarded headers are judged in `origin`, by the proxies that were configured.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=SHUTDOWN,
        h11_max_incomplete_event_size=MAX_HEAD,
        workers=1,
    )
