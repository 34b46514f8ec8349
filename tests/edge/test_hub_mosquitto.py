"""The hub client against a broker that we did not write."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.rig import rig
from peers.mosquitto import mosquitto

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]


async def test_a_broker_that_lost_everything_is_used_as_before(tmp_path: Path) -> None:
    """Killed and started without persistence: no event is lost, nothing is deaf afterwards."""
    async with (
        rig(tmp_path, hub_open=False) as it,
        mosquitto(it.module, it.hub.authority, it.hub.gateway, tmp_path) as broker,
    ):
        for number in range(20):
            await it.emit("usage", {"n": number})
        await it.until(lambda: len(it.bodies()) == 20)
        await broker.kill()
        for number in range(20, 40):
            await it.emit("usage", {"n": number})
        it.client.report({"while": "away"})
        it.module.patch_desired({"while": "away"})
        await broker.start()

        await it.until(lambda: (2, {"while": "away"}) in it.desired)
        await it.until(lambda: len({body["n"] for body in it.bodies()}) == 40)
        await it.module.until(lambda module: module.reported.values == {"while": "away"})
        it.module.patch_desired({"after": 1})
        await it.until(lambda: (3, {"while": "away", "after": 1}) in it.desired)
        assert await it.module.invoke("ping", {"a": 1}) == (200, {"echo": {"a": 1}})
