"""The hub reached through a proxy, and by websockets."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from connected_registry.edge.route import HubProxy, HubRoute
from hub.rig import rig
from hub.tunnel import tunnel
from local_hub.endpoint import bind_loopback


def network_threads() -> int:
    """How many connections the SDK's MQTT client serves."""
    return sum("_thread_main" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize(("websockets", "port"), [(False, 8883), (True, 443)])
async def test_a_proxy_leads_to_the_hub(tmp_path: Path, websockets: bool, port: int) -> None:
    """MQTT and MQTT inside websockets both work through it, each asking for its own port."""
    with bind_loopback() as free:
        address = free.getsockname()[0]
    async with tunnel((address, 8883)) as proxy:
        route = HubRoute(websockets, HubProxy("HTTP", "127.0.0.1", proxy.port))
        async with rig(tmp_path, route=route, address=address) as it:
            await it.module.until(lambda module: module.ready)
            it.module.patch_desired({"text": "x" * 300})
            await it.until(lambda: (2, {"text": "x" * 300}) in it.desired)
            it.client.report({"list": ["y" * 4000] * 7})
            await it.module.until(lambda module: module.reported.values)
            assert await it.module.invoke("echo", "z" * 100_000) == (200, {"echo": "z" * 100_000})
            await it.emit("usage", {"n": 1})
            await it.until(lambda: it.bodies() == [{"n": 1}])

        assert set(proxy.asked) == {f"CONNECT {address}:{port}"}


async def test_a_link_that_corrupts_ends_the_session_and_nothing_else(tmp_path: Path) -> None:
    """A broken TLS record is the end of a connection, not of the thread that read it."""
    with bind_loopback() as free:
        address = free.getsockname()[0]
    async with tunnel((address, 8883)) as proxy:
        route = HubRoute(proxy=HubProxy("HTTP", "127.0.0.1", proxy.port))
        async with rig(tmp_path, route=route, address=address) as it:
            await it.connected()
            for session in (2, 3):
                proxy.corrupting = True
                it.module.patch_desired({"session": session})
                await it.until(lambda: not it.client.state.connected)
                proxy.corrupting = False
                await it.connected(session)
                await it.until(lambda: network_threads() == 1)
            await it.until(lambda: (3, {"session": 3}) in it.desired)
