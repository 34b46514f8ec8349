"""Local methods: before the direct ones, and never the hub's."""

from __future__ import annotations

import asyncio
from typing import Any

from connected_registry.app.local import LocalMethod, LocalMethods
from connected_registry.edge.methods import METHODS
from connected_registry.edge.payload import Payload
from connected_registry.edge.tasks import Task, Tasks


class Give(Payload):
    """One key."""

    name: str


async def others(name: str, _payload: Any) -> tuple[int, Any]:
    """Stands for the direct methods."""
    return 200, {"other": name}


async def test_tasks_and_refusals() -> None:
    """Work is a task; a wrong key is 400; a second one of a name waits its turn; others pass."""
    going = asyncio.Event()

    async def work(wanted: Give, _task: Task) -> dict[str, Any]:
        await going.wait()
        return {"name": wanted.name}

    async with Tasks() as tasks:
        local = LocalMethods({"give": LocalMethod(Give, work)}, tasks, others)

        refused, wrong = await local.invoke("give", {"nam": "x"})
        status, started = await local.invoke("give", {"name": "x"})
        busy, told = await local.invoke("give", {"name": "y"})
        going.set()
        task = tasks.get(started["correlationId"])
        assert task is not None
        await task.done.wait()

        assert (refused, wrong["key"]) == (400, "nam")
        assert (status, busy) == (202, 409)
        assert told["correlationId"] == started["correlationId"]
        assert task.result == {"name": "x"}
        assert await local.invoke("ping") == (200, {"other": "ping"})


def test_hub_cannot_name_files() -> None:
    """None of the local methods is a direct method."""
    assert METHODS.keys().isdisjoint({"exportBundle", "importBundle", "takeInventory"})
