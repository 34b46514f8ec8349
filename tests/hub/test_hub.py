"""The local hub, asked by a bare MQTT client and by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_hub.hub import HOSTNAME, LocalHub
from local_hub.module import METHODS, TWIN_ANSWERS, Module
from local_hub.packet import Fields, Kind, Packet, read_packet, text

TWIN = "/twins/edge1/modules/registry"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    """A hub with the modules ``edge1/registry`` and ``edge1/other``."""
    async with LocalHub(tmp_path) as hub:
        hub.add_module("edge1", "registry")
        hub.add_module("edge1", "other")
        yield hub


@pytest.fixture
async def service(hub: LocalHub) -> AsyncIterator[httpx.AsyncClient]:
    """The cloud side."""
    async with httpx.AsyncClient(base_url=hub.service_url, timeout=60, trust_env=False) as client:
        yield client


class Wire:
    """An MQTT connection with nothing built in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, kind: Kind, body: bytes = b"", flags: int = 0) -> None:
        """Write one packet."""
        self.writer.write(Packet(kind, flags, body).encode())
        await self.writer.drain()

    async def receive(self) -> Packet:
        """Read one packet; `EOFError` or `OSError` when the hub has ended the connection."""
        return await read_packet(self.reader.readexactly)

    async def ended(self) -> bool:
        """Wait until the hub ends the connection."""
        try:
            while True:
                await self.receive()
        except (EOFError, OSError):
            return True

    async def subscribe(self, *filters: str) -> bytes:
        """The codes that the hub answers."""
        body = b"\x00\x07" + b"".join(text(each) + b"\x01" for each in filters)
        await self.send(Kind.SUBSCRIBE, body, 2)
        answer = await self.receive()
        assert answer.kind is Kind.SUBACK
        return answer.body[2:]

    async def publish(self, topic: str, payload: bytes = b"") -> None:
        """Send a message at quality 1 and take its acknowledgement."""
        await self.send(Kind.PUBLISH, text(topic) + b"\x00\x09" + payload, 2)
        assert await self.receive() == Packet(Kind.PUBACK, 0, b"\x00\x09")


class Dial:
    """Connects to a hub, and closes all its connections in the end."""

    def __init__(self, hub: LocalHub) -> None:
        self.hub = hub
        self.wires: list[Wire] = []

    async def __call__(
        self,
        module: Module,
        *,
        token: str | None = None,
        user: str | None = None,
        clean: bool = False,
        keep_alive: int = 60,
    ) -> tuple[Wire, bytes]:
        """A connection and the body of its CONNACK."""
        trusting = ssl.create_default_context(cadata=self.hub.authority.certificate)
        wire = Wire(*await asyncio.open_connection(self.hub.gateway, 8883, ssl=trusting))
        self.wires.append(wire)
        resource = f"{HOSTNAME}/devices/{module.device}/modules/{module.name}"
        version = "api-version=2021-04-12&model-id=dtmi%3Aa%3B1"
        body = (
            text("MQTT")
            + bytes([4, 0xC2 if clean else 0xC0])
            + keep_alive.to_bytes(2, "big")
            + text(module.path)
            + text(user or f"{HOSTNAME}/{module.path}/?{version}")
            + text(token or module.key.token(resource, int(time.time()) + 600))
        )
        await wire.send(Kind.CONNECT, body)
        answer = await wire.receive()
        assert answer.kind is Kind.CONNACK
        return wire, answer.body

    async def close(self) -> None:
        """Close what is open."""
        for wire in self.wires:
            wire.writer.transport.abort()
            with contextlib.suppress(OSError):
                await wire.writer.wait_closed()


@pytest.fixture
async def connect(hub: LocalHub) -> AsyncIterator[Dial]:
    """Makes connections to ``hub``."""
    dial = Dial(hub)
    yield dial
    await dial.close()


async def test_a_good_login_is_taken(hub: LocalHub, connect: Dial) -> None:
    """And the model id in the user name is noted."""
    module = hub.modules["edge1/registry"]
    _, answer = await connect(module)

    assert answer == b"\x00\x00"
    assert module.model_id == "dtmi:a;1"


@pytest.mark.parametrize("what", ["expired", "foreign", "user"])
async def test_a_bad_login_is_refused(hub: LocalHub, connect: Dial, what: str) -> None:
    """Another module's key, an old token and a user name that does not fit are CONNACK 5."""
    module, other = hub.modules["edge1/registry"], hub.modules["edge1/other"]
    resource = f"{HOSTNAME}/devices/edge1/modules/registry"
    options: dict[str, dict[str, str]] = {
        "expired": {"token": module.key.token(resource, int(time.time()) - 1)},
        "foreign": {"token": other.key.token(resource, int(time.time()) + 60)},
        "user": {"user": "elsewhere/edge1/registry/?api-version=1"},
    }
    wire, answer = await connect(module, **options[what])  # type: ignore[arg-type]

    assert answer == b"\x00\x05"
    assert await wire.ended()
    assert not module.connected


async def test_an_expiring_token_ends_the_connection(hub: LocalHub, connect: Dial) -> None:
    """At the second that it names."""
    module = hub.modules["edge1/registry"]
    resource = f"{HOSTNAME}/devices/edge1/modules/registry"
    ends = int(time.time()) + 2
    wire, _ = await connect(module, token=module.key.token(resource, ends))

    assert await wire.ended()
    assert time.time() >= ends


async def test_a_silent_client_is_dropped_after_its_keep_alive(
    hub: LocalHub, connect: Dial
) -> None:
    """One and a half times what it promised."""
    wire, _ = await connect(hub.modules["edge1/registry"], keep_alive=1)

    assert await wire.ended()


async def test_a_second_connection_takes_over(hub: LocalHub, connect: Dial) -> None:
    """The first one is ended, and the subscriptions of the session stay."""
    module = hub.modules["edge1/registry"]
    first, _ = await connect(module)
    await first.subscribe(METHODS)
    _, answer = await connect(module)

    assert answer == b"\x01\x00"
    assert await first.ended()
    assert module.connected


async def test_a_clean_session_forgets_subscriptions(hub: LocalHub, connect: Dial) -> None:
    """As its flag asks."""
    module = hub.modules["edge1/registry"]
    first, _ = await connect(module)
    await first.subscribe(METHODS)
    _, answer = await connect(module, clean=True)

    assert answer == b"\x00\x00"
    assert module.subscriptions == {}


async def test_topics_of_others_cannot_be_subscribed_to(hub: LocalHub, connect: Dial) -> None:
    """Documented topics of this module are granted, all others refused one by one."""
    wire, _ = await connect(hub.modules["edge1/registry"])

    assert await wire.subscribe(METHODS, "#", "devices/edge1/modules/other/inputs/#") == bytes(
        [1, 0x80, 0x80]
    )


async def test_messages_to_others_are_not_taken(hub: LocalHub, connect: Dial) -> None:
    """Telemetry on another module's topic is nobody's."""
    wire, _ = await connect(hub.modules["edge1/registry"])
    await wire.publish("devices/edge1/modules/other/messages/events/", b"{}")

    assert not hub.modules["edge1/other"].telemetry
    assert hub.modules["edge1/registry"].count("unknown topic") == 1


async def test_modules_do_not_hear_each_other(hub: LocalHub, connect: Dial) -> None:
    """A call for one reaches only that one."""
    registry, other = hub.modules["edge1/registry"], hub.modules["edge1/other"]
    wire, _ = await connect(registry)
    silent, _ = await connect(other)
    await wire.subscribe(METHODS)
    await silent.subscribe(METHODS)
    call = asyncio.create_task(registry.invoke("ping", 1))
    fields = Fields((await wire.receive()).body)
    request = fields.text().partition("$rid=")[2]
    fields.number(2)
    assert fields.rest() == b"1"
    await wire.publish(f"$iothub/methods/res/201/?$rid={request}", b'{"a":1}')

    assert await call == (201, {"a": 1})
    await silent.send(Kind.PINGREQ)
    assert (await silent.receive()).kind is Kind.PINGRESP


async def test_quality_two_ends_the_connection(hub: LocalHub, connect: Dial) -> None:
    """IoT Hub does not know it."""
    wire, _ = await connect(hub.modules["edge1/registry"])
    await wire.send(Kind.PUBLISH, text("x") + b"\x00\x01", 4)

    assert await wire.ended()


async def test_garbage_ends_one_connection_only(hub: LocalHub, connect: Dial) -> None:
    """The hub goes on serving others."""
    wire, _ = await connect(hub.modules["edge1/registry"])
    wire.writer.write(b"\xff" * 100)

    assert await wire.ended()
    _, answer = await connect(hub.modules["edge1/other"])
    assert answer == b"\x00\x00"


async def test_the_twin_answers_by_request_id(hub: LocalHub, connect: Dial) -> None:
    """The answer has the id and both halves with their versions."""
    module = hub.modules["edge1/registry"]
    module.patch_desired({"a": 1})
    wire, _ = await connect(module)
    await wire.subscribe(TWIN_ANSWERS)
    await wire.publish("$iothub/twin/GET/?$rid=r-1", b" ")
    fields = Fields((await wire.receive()).body)
    topic = fields.text()
    fields.number(2)

    assert topic == "$iothub/twin/res/200/?$rid=r-1"
    assert json.loads(fields.rest()) == {
        "desired": {"a": 1, "$version": 2},
        "reported": {"$version": 1},
    }


async def test_a_person_can_read_and_change_the_twin(
    hub: LocalHub, service: httpx.AsyncClient
) -> None:
    """With the paths of IoT Hub."""
    change = {"properties": {"desired": {"mode": "ReadOnly"}}}
    answer = await service.patch(TWIN, params={"api-version": "2021-04-12"}, json=change)
    read = await service.get(TWIN)

    assert answer.json() == read.json()
    assert read.json()["properties"]["desired"] == {"mode": "ReadOnly", "$version": 2}
    replaced = await service.put(TWIN, json={"properties": {"desired": {"a": 1}}})
    assert replaced.json()["properties"]["desired"] == {"a": 1, "$version": 3}


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/twins/edge1/modules/none", "", 404),
        ("PATCH", TWIN, "nonsense", 400),
        ("PATCH", TWIN, "[]", 400),
        ("PATCH", TWIN, '{"properties": {}}', 400),
        ("PATCH", TWIN, '{"properties": {"desired": 1}}', 400),
        ("PATCH", TWIN, '{"properties": {"desired": {"a.b": 1}}}', 400),
        ("PATCH", TWIN, '"' + "x" * 300_000 + '"', 413),
        ("POST", f"{TWIN}/methods", "{}", 400),
        ("POST", f"{TWIN}/methods", '{"methodName": "p", "responseTimeoutInSeconds": 1}', 400),
        ("POST", f"{TWIN}/methods", '{"methodName": "ping"}', 404),
        ("PATCH", "/faults/edge1/registry", '{"stal": true}', 400),
        ("PATCH", "/faults/edge1/registry", '{"stall": 1}', 400),
        ("GET", "/messages/events?after=x&wait=1", "", 400),
    ],
)
async def test_bad_requests_are_answered_with_a_sentence(
    service: httpx.AsyncClient, method: str, path: str, content: str, status: int
) -> None:
    """In IoT Hub's form, and nothing is changed."""
    answer = await service.request(method, path, content=content)

    assert answer.status_code == status
    assert answer.json()["Message"].startswith("ErrorCode:")
    assert (await service.get(TWIN)).json()["properties"]["desired"] == {"$version": 1}


async def test_events_can_be_polled_and_streamed(
    hub: LocalHub, connect: Dial, service: httpx.AsyncClient
) -> None:
    """A page waits for the next message; the stream has each as one line of data."""
    module = hub.modules["edge1/registry"]
    wire, _ = await connect(module)
    page = asyncio.create_task(service.get("/messages/events?after=0&wait=30"))
    await wire.publish(
        "devices/edge1/modules/registry/messages/events/%24.on=events&%24.mid=m%201&event=x%26y",
        b'{"n": 1}',
    )
    document = (await page).json()
    assert document["after"] == 1
    assert document["events"][0]["messageId"] == "m 1"
    assert document["events"][0]["properties"] == {"event": "x&y"}

    async with service.stream("GET", "/messages/events") as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                assert json.loads(line.removeprefix("data: ")) == document["events"][0]
                break
    empty = await service.get("/messages/events?after=1&wait=0")
    assert empty.json() == {"events": [], "after": 1}


async def test_faults_can_be_switched_by_hand(hub: LocalHub, service: httpx.AsyncClient) -> None:
    """Those named change, the others stay."""
    await service.patch("/faults/edge1/registry", json={"twin_delay": 1})
    answer = await service.patch("/faults/edge1/registry", json={"twin_status": 429})

    assert (answer.json()["twin_delay"], answer.json()["twin_status"]) == (1, 429)
    assert hub.modules["edge1/registry"].faults.twin_status == 429


async def test_a_restart_may_lose_the_sessions(
    hub: LocalHub, connect: Dial, service: httpx.AsyncClient
) -> None:
    """Connections end; subscriptions are kept or lost as asked."""
    module = hub.modules["edge1/registry"]
    wire, _ = await connect(module)
    await wire.subscribe(METHODS)
    await service.post("/restart")
    assert await wire.ended()
    assert METHODS in module.subscriptions
    await service.post("/restart", json={"loseSessions": True})

    assert module.subscriptions == {}
    _, answer = await connect(module)
    assert answer == b"\x00\x00"


async def test_keys_and_twins_are_kept_in_the_folder(tmp_path: Path) -> None:
    """A hub started again has the same authority, keys and twins."""
    async with LocalHub(tmp_path) as hub:
        module = hub.add_module("edge1", "registry")
        module.patch_desired({"a": 1})
        module.reported.patch({"b": 2})
    async with LocalHub(tmp_path) as again:
        same = again.add_module("edge1", "registry")

        assert again.authority.certificate == hub.authority.certificate
        assert same.key == module.key
        assert same.twin() == module.twin()
        assert not (tmp_path / "ca.key").stat().st_mode & 0o077


async def test_hubs_run_side_by_side(tmp_path: Path, hub: LocalHub) -> None:
    """Each has an address of its own below 127.0.0.0/8."""
    async with LocalHub(tmp_path / "second") as second:
        assert second.gateway != hub.gateway


def test_system_properties_are_told_apart(tmp_path: Path) -> None:
    """Names with ``$.`` are the hub's, the others the module's."""
    module = LocalHub(tmp_path).add_module("d", "m")
    module.receive("devices/d/modules/m/messages/events/$.ct=a%2Fb&k=v", b"not json")
    message: Any = module.telemetry[0]

    assert (message.system, message.properties) == ({"$.ct": "a/b"}, {"k": "v"})
    assert message.content == "not json"
