from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from connected_registry.edge.destination import Destination
from connected_registry.edge.identity import KeyIdentity
from connected_registry.edge.probe import probe
from connected_registry.edge.route import HubProxy, HubRoute
from connected_registry.errors import HubLost
from local_hub.authority import Authority
from local_hub.hub import LocalHub

LONG = timedelta(seconds=60)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    """A local hub with the module ``edge1/registry``."""
    async with LocalHub(tmp_path) as hub:
        hub.add_module("edge1", "registry")
        yield hub


def to(hub: LocalHub, route: HubRoute | None = None) -> Destination:
    """The hub's module as a destination."""
    text = hub.connection_string(hub.modules["edge1/registry"])
    return Destination(KeyIdentity.parse("KEY", text), route or HubRoute(), "dtmi:a;1")


async def test_a_hub_that_is_there_is_passed(hub: LocalHub) -> None:
    """No login is tried: that is the session's business."""
    await probe(to(hub), hub.authority.certificate, LONG)

    assert hub.modules["edge1/registry"].count("connect") == 0


async def test_a_hub_that_is_away_is_told(hub: LocalHub) -> None:
    """With where and why."""
    await hub.stop()

    with pytest.raises(HubLost, match=rf"cannot connect to {hub.gateway}:8883: .*refused"):
        await probe(to(hub), hub.authority.certificate, LONG)


async def test_a_foreign_authority_is_told(hub: LocalHub) -> None:
    """In the words of the TLS library."""
    with pytest.raises(HubLost, match=r"is not trusted: .*certificate"):
        await probe(to(hub), Authority().certificate, LONG)


async def test_a_bundle_that_is_no_certificate_is_told(hub: LocalHub) -> None:
    """Whatever the workload API or a file may hold."""
    with pytest.raises(HubLost, match="cannot connect"):
        await probe(to(hub), "nonsense", LONG)


async def test_a_handshake_that_never_ends_has_a_limit(hub: LocalHub) -> None:
    """And can be cancelled at any moment, as nothing in the SDK can."""
    hub.stalled = True

    with pytest.raises(HubLost, match=r"no answer within 0\.1 s"):
        await probe(to(hub), hub.authority.certificate, timedelta(seconds=0.1))
    task = asyncio.create_task(probe(to(hub), hub.authority.certificate, LONG))
    await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_behind_a_proxy_nothing_is_probed(hub: LocalHub) -> None:
    """The way there is the SDK's."""
    await hub.stop()
    route = HubRoute(proxy=HubProxy("HTTP", "127.0.0.1", 9))

    await probe(to(hub, route), None, LONG)
