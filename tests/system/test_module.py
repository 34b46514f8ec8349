"""The module as a process: from an operator's change at the hub to an image that can be pulled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local_hub.hub import LocalHub
from local_hub.module import Module
from peers.distribution import Distribution
from peers.images import Image, make_image
from system.conftest import ReplicaFactory

pytestmark = pytest.mark.system

SCOPE = {"scope": {"repositories": [{"name": "plant/app", "tags": ["1.*"]}]}}


@pytest.fixture(scope="module")
def image(distribution: Distribution) -> Image:
    """What the parent has as ``plant/app:1.0``."""
    return distribution.push(make_image(name="app", size=50_000), "plant/app", "1.0")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    """A hub with the module ``edge1/registry``."""
    async with LocalHub(tmp_path / "hub") as hub:
        hub.add_module("edge1", "registry")
        yield hub


def plain_environment(hub: LocalHub, module: Module) -> dict[str, str]:
    """Our own variables, as where there is no IoT Edge."""
    return {
        "CONNECTED_REGISTRY_HUB_CONNECTION_STRING": hub.connection_string(module),
        "CONNECTED_REGISTRY_HUB_CA_FILE": str(hub.trusted_ca),
    }


def reported(module: Module, *path: str) -> Any:
    """A value of the reported properties; None where it is not there."""
    value: Any = module.reported.values
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


async def settled(module: Module, version: int) -> dict[str, Any]:
    """The overall status of the desired document of that version, once it is reported."""
    await module.until(lambda module: reported(module, "lastDesiredVersion") == version)
    status: dict[str, Any] = reported(module, "lastDesiredStatus")
    return status


@pytest.mark.parametrize(
    "environment",
    [LocalHub.edge_environment, LocalHub.simulator_environment, plain_environment],
    ids=["workload API", "simulator", "connection string"],
)
async def test_an_image_added_to_the_twin_is_synced_and_reported(
    hub: LocalHub,
    environment: Any,
    new_replica: ReplicaFactory,
    distribution: Distribution,
    image: Image,
) -> None:
    """The change is acknowledged with its version, the site says that it is complete, and it is."""
    module = hub.modules["edge1/registry"]
    replica = await asyncio.to_thread(
        new_replica, {}, parent=distribution.address, environment=environment(hub, module)
    )
    await module.until(lambda module: module.ready)
    version = module.patch_desired(SCOPE)
    await settled(module, version)
    await module.until(lambda module: reported(module, "inSync") == "true")
    await module.until(
        lambda module: any(m.properties.get("event") == "imageAvailable" for m in module.telemetry)
    )

    assert reported(module, "scope", "av") == version
    assert reported(module, "scope", "ac") == 200
    assert module.model_id == "dtmi:connectedRegistry:EdgeReplica;1"
    assert await asyncio.to_thread(replica.digest, "plant/app", "1.0") == image.digest
    event = next(m for m in module.telemetry if m.properties.get("event") == "imageAvailable")
    assert event.output == "events"
    assert event.properties["severity"] == "information"
    assert (event.system["$.ct"], event.system["$.ce"]) == ("application/json", "utf-8")
    assert event.content["digest"] == image.digest
    ids = [message.message_id for message in module.telemetry]
    assert len(ids) == len(set(ids))


async def test_methods_answer_good_and_bad_payloads(
    hub: LocalHub, new_replica: ReplicaFactory, distribution: Distribution, image: Image
) -> None:
    """Through the hub as on the command line: 200 or 202, and 400 with the key that is wrong."""
    module = hub.modules["edge1/registry"]
    module.patch_desired(SCOPE)
    await asyncio.to_thread(
        new_replica, {}, parent=distribution.address, environment=hub.edge_environment(module)
    )
    await module.until(lambda module: reported(module, "inSync") == "true")

    for name, payload, wanted in (
        ("ping", None, 200),
        ("ping", {"x": 1}, 400),
        ("getStatus", None, 200),
        ("listImages", {"limit": 10}, 200),
        ("listImages", {"limit": 0}, 400),
        ("checkImages", {"images": ["plant/app:1.0"]}, 200),
        ("checkImages", {"images": "plant/app:1.0"}, 400),
        ("explain", {"image": "plant/app:2.0"}, 200),
        ("explain", {}, 400),
        ("planSync", {}, 202),
        ("planSync", {"repositories": [1]}, 400),
        ("pauseSync", None, 200),
        ("resumeSync", None, 200),
        ("cancelSync", None, 200),
        ("getTaskStatus", {"correlationId": "none"}, 404),
        ("getTaskStatus", [], 400),
        ("syncNow", {"resync": "yes"}, 400),
        ("nothing", None, 404),
    ):
        status, body = await module.invoke(name, payload)
        assert (name, status) == (name, wanted), body
        if status == 400:
            assert body["key"]
    status, body = await module.invoke("syncNow", {})
    assert status == 202
    status, body = await module.invoke("getTaskStatus", {"correlationId": body["correlationId"]})
    assert status == 200


BAD_TWINS: dict[str, tuple[dict[str, Any], str]] = {
    "wrong type": ({"anonymousPull": "yes"}, "anonymousPull"),
    "unknown mode": ({"mode": "WriteOnly"}, "mode"),
    "six-field cron": ({"sync": {"schedule": "* * * * * *"}}, "sync.schedule"),
    "negative duration": ({"telemetry": {"interval": "-PT1M"}}, "telemetry.interval"),
    "duplicate repositories": (
        {"scope": {"repositories": [{"name": "a"}, {"name": "a"}]}},
        "scope",
    ),
    "plain password": (
        {"clientTokens": [{"name": "t", "scopeMap": "s", "passwords": [{"value": "p"}]}]},
        "clientTokens",
    ),
    "future version": ({"schemaVersion": "2.0"}, "schemaVersion"),
}


async def test_bad_twins_keep_the_last_good_one(
    hub: LocalHub, new_replica: ReplicaFactory, distribution: Distribution
) -> None:
    """Each is acknowledged with 400 and a sentence naming the key, and changes nothing else."""
    module = hub.modules["edge1/registry"]
    module.patch_desired({"telemetry": {"interval": "PT1H"}, **SCOPE})
    await asyncio.to_thread(
        new_replica, {}, parent=distribution.address, environment=hub.edge_environment(module)
    )
    await settled(module, 2)
    good = dict(module.desired.values)

    for what, (change, key) in BAD_TWINS.items():
        status = await settled(module, module.patch_desired(change))
        assert status["code"] == 400, what
        assert key in status["description"], what
        _, body = await module.invoke("getStatus")
        assert body["telemetry"]["value"]["interval"] == "PT1H", what
        assert body["scope"]["value"]["repositories"][0]["name"] == "plant/app", what
        restored = {key: good.get(key) for key in change}
        status = await settled(module, module.patch_desired(restored))
        assert status["code"] == 200, what
