"""A local hub with one module, and the real hub client of the replica connected to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connected_registry.edge.destination import Limits
from connected_registry.edge.hub import HubClient, Pace
from connected_registry.edge.identity import HubIdentity, find_identity
from connected_registry.edge.outbox import Severity, new_event
from connected_registry.edge.route import HubRoute
from connected_registry.storage.database import Database
from connected_registry.storage.outbox import Outbox, StoredEvent
from local_hub.hub import LocalHub
from local_hub.module import Module

MODEL_ID = "dtmi:example:site;1"
LIMITS = Limits(
    make=timedelta(seconds=30),
    connect=timedelta(seconds=10),
    call=timedelta(seconds=2),
    close=timedelta(seconds=3),
    keep_alive=timedelta(seconds=4),
)
PACE = Pace(
    first_delay=timedelta(seconds=0.05),
    longest_delay=timedelta(seconds=0.4),
    report_every=timedelta(seconds=0.05),
    settle=timedelta(seconds=0.2),
    retry=timedelta(seconds=0.2),
    idle=timedelta(seconds=1),
)


@dataclass
class Rig:
    """What the client was told is in ``desired`` and ``calls``; what it sent is in ``module``."""

    hub: LocalHub
    module: Module
    identity: HubIdentity
    client: HubClient
    outbox: Outbox
    desired: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    answer: Callable[[str, Any], tuple[int, Any]] = lambda name, payload: (200, {"echo": payload})
    choke: bool = False
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, methods wait before they are answered."""

    def __post_init__(self) -> None:
        self.answering.set()

    async def until(self, test: Callable[[], object], limit: float = 60) -> None:
        """Return once ``test()`` is true; the limit only ends a test that hangs."""
        async with asyncio.timeout(limit):
            while not test():
                await asyncio.sleep(0.01)

    async def connected(self, sessions: int = 1) -> None:
        """Wait for the session of that number."""
        await self.until(
            lambda: self.client.state.connected and self.client.state.sessions >= sessions
        )

    async def emit(self, name: str, body: dict[str, Any]) -> StoredEvent:
        """Send an event the way the replica does."""
        event = new_event(name, body, at=datetime.now(UTC), severity=Severity.INFORMATION)
        await self.client.emit(event)
        return event

    def bodies(self) -> list[Any]:
        """What the hub received, in order."""
        return [message.content for message in self.module.telemetry]


def _collect() -> None:
    """Let the SDK's sockets of failed connections go here, where nobody else's test pays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextlib.asynccontextmanager
async def rig(
    folder: Path,
    *,
    environment: Callable[[LocalHub, Module], dict[str, str]] = LocalHub.edge_environment,
    limits: Limits = LIMITS,
    pace: Pace = PACE,
    route: HubRoute | None = None,
    address: str | None = None,
    hub_open: bool = True,
    before: Callable[[LocalHub, Module], None] = lambda hub, module: None,
) -> AsyncIterator[Rig]:
    """Start everything; ``before`` is called before the client connects.

    With ``hub_open=False`` nothing listens until ``hub.start()``.
    """
    async with LocalHub(folder / "hub", address=address) as hub:
        module = hub.add_module("edge1", "registry")
        before(hub, module)
        if not hub_open:
            await hub.stop()
        identity = find_identity(environment(hub, module), workload_limit=timedelta(seconds=1))
        assert identity is not None
        with Database(folder / "registry.db") as database:
            outbox = Outbox(database)

            async def on_desired(document: dict[str, Any], version: int) -> None:
                made.desired.append((version, document))
                if made.choke:
                    raise RuntimeError("the receiver fails as asked")

            async def invoke(name: str, payload: Any) -> tuple[int, Any]:
                made.calls.append((name, payload))
                await made.answering.wait()
                return made.answer(name, payload)

            client = HubClient(
                identity,
                on_desired=on_desired,
                invoke=invoke,
                outbox=outbox,
                model_id=MODEL_ID,
                limits=limits,
                pace=pace,
                route=route,
            )
            made = Rig(hub, module, identity, client, outbox)
            running = asyncio.create_task(client.run())
            try:
                yield made
                # A client that died of something is the failure to report.
                assert not running.done(), running.exception()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                _collect()
