"""The real endpoint on a real socket: uvicorn in a thread over a real store."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from connected_registry.endpoint.access import Access, AccessRules
from connected_registry.endpoint.connection_h11 import H11Connection
from connected_registry.endpoint.dispatch import create_endpoint
from connected_registry.endpoint.freshness import Freshness
from connected_registry.endpoint.origin import Origins
from connected_registry.endpoint.page.facts import SiteFacts
from connected_registry.endpoint.page.site import StatusPage
from connected_registry.endpoint.server import serve_config
from connected_registry.endpoint.services import EndpointServices, Pull
from connected_registry.policy.mode import Mode
from endpoint import sites
from storage.store import Store, open_store

KEY = bytes(range(32))


@dataclass
class Site:
    """A served store, and what a test may turn while it is served."""

    store: Store
    access: Access
    port: int
    mode: Mode = Mode.READ_WRITE
    health: dict[str, Any] = field(default_factory=lambda: {"healthy": True, "jobs": {}})
    pulls: list[Pull] = field(default_factory=list)
    facts: SiteFacts = sites.EMPTY
    calls: list[str] = field(default_factory=list)
    """Direct methods that the status page called."""
    method_answer: tuple[int, dict[str, Any]] = (200, {})

    async def gather(self) -> SiteFacts:
        """What the status page shows."""
        return self.facts

    async def invoke(self, name: str, _: Any) -> tuple[int, dict[str, Any]]:
        """Stand in for the direct methods."""
        self.calls.append(name)
        return self.method_answer

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{self.address}"

    def client(self, **options: Any) -> httpx.Client:
        """A client of its own, which sends nothing that a test did not ask for."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)

    def raw(self, request: bytes, *, half_close: bool = False) -> bytes:
        """Everything the server answers to these very bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            answer = bytearray()
            # A server that has heard enough may reset the connection at any point.
            with suppress(OSError):
                connection.sendall(request)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    answer += piece
            return bytes(answer)


@contextmanager
def serve(
    folder: Path,
    rules: AccessRules | None = None,
    *,
    login_server: str | None = None,
    trusted_proxies: tuple[str, ...] = (),
    sparse_pushes: bool = False,
    h11: bool = False,
    freshness: Freshness | None = None,
) -> Iterator[Site]:
    """Serve a new store in ``folder``; open to everyone unless ``rules`` say otherwise."""
    with open_store(folder) as store, bound() as listener:
        access = Access(
            rules or AccessRules(open=True), key=KEY, audience="test-site", clock=store.clock
        )
        site = Site(store, access, listener.getsockname()[1])
        services = EndpointServices(
            registry=store.registry,
            uploads=store.uploads,
            access=access,
            origins=Origins(login_server, trusted_proxies),
            mode=lambda: site.mode,
            health=lambda: site.health,
            usage=site.pulls.append,
            sparse_pushes=sparse_pushes,
            freshness=freshness,
            page=StatusPage(
                site.gather,
                site.invoke,
                key=KEY,
                audience="test-site",
                clock=store.clock,
                fresh_for=0,
            ),
        )
        config = serve_config(create_endpoint(services))
        if h11:
            config.http = H11Connection
        with running(config, listener):
            yield site


@contextmanager
def bound() -> Iterator[socket.socket]:
    """A listening socket on a free port: whoever connects early waits."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        yield listener


@contextmanager
def running(config: uvicorn.Config, listener: socket.socket) -> Iterator[None]:
    """uvicorn in a thread with a loop of its own."""
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), name="uvicorn"
    )
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
