from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from connected_registry.edge.hub import MAX_CALLS
from hub.rig import MODEL_ID, rig
from local_hub.hub import LocalHub
from local_hub.module import CallError, Module


def plain_environment(hub: LocalHub, module: Module) -> dict[str, str]:
    """Our own variables, as where there is no IoT Edge."""
    return {
        "CONNECTED_REGISTRY_HUB_CONNECTION_STRING": hub.connection_string(module),
        "CONNECTED_REGISTRY_HUB_CA_FILE": str(hub.trusted_ca),
    }


@pytest.mark.parametrize(
    "environment",
    [LocalHub.edge_environment, LocalHub.simulator_environment, plain_environment],
    ids=["workload API", "simulator", "connection string"],
)
async def test_every_identity_carries_every_kind_of_traffic(
    tmp_path: Path, environment: Any
) -> None:
    """Twin both ways, methods and telemetry work whichever way the module got its identity."""
    async with rig(tmp_path, environment=environment) as it:
        await it.module.until(lambda module: module.ready)
        it.module.patch_desired({"mode": "ReadOnly"})
        await it.until(lambda: (2, {"mode": "ReadOnly"}) in it.desired)
        it.client.report({"mode": {"value": "ReadOnly", "ac": 200, "av": 2}})
        await it.module.until(lambda module: "mode" in module.reported.values)
        assert await it.module.invoke("ping", {"a": 1}) == (200, {"echo": {"a": 1}})
        event = await it.emit("syncStarted", {"correlationId": "é"})
        await it.module.until(lambda module: module.telemetry)

        message = it.module.telemetry[0]

        assert it.module.model_id == MODEL_ID
        assert it.module.reported.values == {"mode": {"value": "ReadOnly", "ac": 200, "av": 2}}
        assert message.message_id == event.id
        assert message.output == "events"
        assert (message.system["$.ct"], message.system["$.ce"]) == ("application/json", "utf-8")
        assert message.properties == {"event": "syncStarted", "severity": "information"}
        assert message.content == {"correlationId": "é"}
        await it.until(lambda: len(it.outbox) == 0)


async def test_only_differences_are_reported_and_removals_are_null(tmp_path: Path) -> None:
    """A second report sends what changed, with null for what is gone."""
    async with rig(tmp_path) as it:
        it.client.report({"a": 1, "b": {"c": 1, "d": 2}, "e": True})
        await it.module.until(lambda module: module.count("reported") == 1)
        it.client.report({"a": 1, "b": {"c": 2}, "e": 1})
        await it.module.until(lambda module: module.count("reported") == 2)

        patches = [note.detail for note in it.module.notes if note.what == "reported"]

        assert patches[1] == {"b": {"c": 2, "d": None}, "e": 1}
        assert it.module.reported.values == {"a": 1, "b": {"c": 2}, "e": 1}


async def test_reports_in_quick_succession_become_one_patch(tmp_path: Path) -> None:
    """What changes while a patch is under way or has just gone waits and goes together."""
    async with rig(tmp_path) as it:
        await it.connected()
        for number in range(100):
            it.client.report({"n": number})
        await it.module.until(lambda module: module.reported.values == {"n": 99})

        assert it.module.count("reported") == 1


async def test_what_the_hub_already_has_is_not_reported_again(tmp_path: Path) -> None:
    """After a reconnect the difference is taken against the hub's own copy."""

    def before(hub: LocalHub, module: Module) -> None:
        module.reported.patch({"a": 1, "old": True})

    async with rig(tmp_path, before=before) as it:
        it.client.report({"a": 1, "b": 2})
        await it.module.until(lambda module: module.count("reported"))

        assert it.module.reported.values == {"a": 1, "b": 2}
        assert [n.detail for n in it.module.notes if n.what == "reported"] == [
            {"old": None, "b": 2}
        ]


async def test_a_refused_property_is_set_aside_and_the_others_arrive(tmp_path: Path) -> None:
    """One property that breaks the hub's rules does not hold back the rest, nor end the session."""
    async with rig(tmp_path) as it:
        it.client.report({"a": 1, "bad": "x" * 5000, "c": 3})
        await it.until(lambda: it.client.state.reported_settled)

        assert it.client.state.refused == ("bad",)
        assert it.module.reported.values == {"a": 1, "c": 3}
        assert it.client.state.sessions == 1


async def test_a_refused_property_is_tried_again_when_it_changes(tmp_path: Path) -> None:
    """Being set aside ends with the value that was refused."""
    async with rig(tmp_path) as it:
        it.client.report({"a": "x" * 5000})
        await it.until(lambda: it.client.state.refused == ("a",))
        it.client.report({"a": "fine"})
        await it.module.until(lambda module: module.reported.values == {"a": "fine"})

        assert it.client.state.refused == ()


async def test_a_failing_method_is_answered_all_the_same(tmp_path: Path) -> None:
    """An exception in the receiver is told as 500, with its kind and nothing of its text."""

    def fail(name: str, payload: Any) -> tuple[int, Any]:
        raise RuntimeError("secret")

    async with rig(tmp_path) as it:
        it.answer = fail
        await it.module.until(lambda module: module.ready)

        assert await it.module.invoke("ping") == (500, {"error": "internal error (RuntimeError)"})


async def test_a_method_without_payload_is_given_none(tmp_path: Path) -> None:
    """An empty body is no payload."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        await it.module.invoke("with space")

        assert it.calls == [("with space", None)]


async def test_methods_do_not_wait_for_each_other_and_are_limited(tmp_path: Path) -> None:
    """Many are answered at once; beyond the limit the answer is 429, and comes at once."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.answering.clear()
        calls = [asyncio.create_task(it.module.invoke("slow", n)) for n in range(MAX_CALLS + 3)]
        refused = 0
        for call in asyncio.as_completed(calls):
            status, _ = await call
            refused += status == 429
            if refused == 3:
                it.answering.set()

        assert [call.result()[0] for call in calls].count(200) == MAX_CALLS


async def test_leaving_ends_the_session_and_its_threads(tmp_path: Path) -> None:
    """Nothing of ours goes on when the job is cancelled."""
    async with rig(tmp_path) as it:
        await it.connected()
        module = it.module

    assert not module.connected
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hub")]


async def test_a_method_nobody_can_hear_is_404_at_the_hub(tmp_path: Path) -> None:
    """The local hub says what IoT Hub says of a module that is not connected."""
    async with LocalHub(tmp_path) as hub:
        module = hub.add_module("edge1", "registry")

        with pytest.raises(CallError) as raised:
            await module.invoke("ping")

        assert raised.value.status == 404


async def test_events_arrive_in_order_and_none_is_left(tmp_path: Path) -> None:
    """More events than one batch are sent in the order in which they happened."""
    async with rig(tmp_path) as it:
        for number in range(120):
            await it.emit("usage", {"n": number})
        await it.module.until(lambda module: len(module.telemetry) == 120)

        assert it.bodies() == [{"n": number} for number in range(120)]
        await it.until(lambda: len(it.outbox) == 0)


async def test_a_desired_document_that_the_receiver_chokes_on_ends_nothing(
    tmp_path: Path,
) -> None:
    """The session goes on, and the next version is handed over."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.choke = True
        it.module.patch_desired({"n": 1})
        await it.until(lambda: (2, {"n": 1}) in it.desired)
        it.module.patch_desired({"n": 2})
        await it.until(lambda: (3, {"n": 2}) in it.desired)

        assert it.client.state.sessions == 1


def test_the_sdk_is_imported_only_when_there_is_a_hub() -> None:
    """It takes longer to import than everything else together."""
    script = "import sys, connected_registry.edge.hub; sys.exit('azure.iot.device' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
