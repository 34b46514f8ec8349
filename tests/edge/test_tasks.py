"""Long work in the background."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from connected_registry.edge.tasks import Task, Tasks, TaskStatus
from connected_registry.errors import ParentOffline, ReplicaError

FOREVER = timedelta(days=1)


async def test_a_task_goes_from_not_started_to_completed() -> None:
    """Status, progress and result are there to be asked for at every moment."""
    go = asyncio.Event()

    async def work(task: Task) -> dict[str, Any]:
        task.report({"imagesDone": 1})
        await go.wait()
        return {"bytes": 5}

    async with Tasks() as tasks:
        task = tasks.start("syncNow", work)
        assert task.to_json()["status"] == "NotStarted"
        await asyncio.sleep(0)
        assert task.to_json() == {
            "correlationId": task.correlation_id,
            "method": "syncNow",
            "status": "Running",
            "progress": {"imagesDone": 1},
        }
        assert tasks.unfinished("syncNow") is task
        go.set()
        assert await tasks.wait(task, FOREVER)
        found = tasks.get(task.correlation_id)
        assert found is not None
        assert (found.to_json()["status"], found.to_json()["result"]) == ("Completed", {"bytes": 5})
        assert tasks.unfinished("syncNow") is None


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ReplicaError("the disk is full"), {"error": "the disk is full"}),
        (ParentOffline("no route"), {"error": "no route", "offline": True}),
    ],
)
async def test_expected_failures_keep_their_sentence(
    error: ReplicaError, result: dict[str, Any]
) -> None:
    """Work that fails for a known reason tells it in the result."""

    async def work(_: Task) -> dict[str, Any]:
        raise error

    async with Tasks() as tasks:
        task = tasks.start("planSync", work)
        await tasks.wait(task, FOREVER)
        assert task.status is TaskStatus.FAILED
        assert task.to_json()["result"] == result


async def test_unexpected_failures_tell_their_kind_only() -> None:
    """What may hold anything, a path or a secret, goes to the log and not to the caller."""

    async def work(_: Task) -> dict[str, Any]:
        raise ValueError("hunter2")

    async with Tasks() as tasks:
        task = tasks.start("planSync", work)
        await tasks.wait(task, FOREVER)
        assert "hunter2" not in repr(task.to_json())
        assert "ValueError" in task.to_json()["result"]["error"]


async def test_waiting_ends_at_its_limit_and_the_work_goes_on() -> None:
    """A caller that has no more time leaves the task as it is."""
    go = asyncio.Event()

    async def work(_: Task) -> dict[str, Any]:
        await go.wait()
        return {}

    async with Tasks() as tasks:
        task = tasks.start("syncNow", work)
        assert not await tasks.wait(task, timedelta(0))
        go.set()
        assert await tasks.wait(task, FOREVER)
        assert task.status is TaskStatus.COMPLETED


async def test_history_is_bounded() -> None:
    """The oldest finished tasks are forgotten, those that run never."""
    go = asyncio.Event()

    async def slow(_: Task) -> dict[str, Any]:
        await go.wait()
        return {}

    async def quick(_: Task) -> dict[str, Any]:
        return {}

    async with Tasks(history=3) as tasks:
        running = tasks.start("syncNow", slow)
        done = [tasks.start("planSync", quick) for _ in range(6)]
        for task in done:
            await tasks.wait(task, FOREVER)
        assert tasks.get(running.correlation_id) is running
        kept = [task for task in done if tasks.get(task.correlation_id)]
        assert kept == done[3:]
        go.set()


async def test_leaving_stops_what_runs() -> None:
    """At shutdown running work is cancelled, its clean-up awaited, and it counts as failed."""
    cleaned = False

    async def work(_: Task) -> dict[str, Any]:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            cleaned = True
        return {}

    async with Tasks() as tasks:
        task = tasks.start("syncNow", work)
        await asyncio.sleep(0)
    assert cleaned
    assert task.to_json()["result"] == {"error": "the replica stopped before the work was done"}


async def test_correlation_ids_can_be_given() -> None:
    """Work that has an id already keeps it."""

    async def work(_: Task) -> dict[str, Any]:
        return {}

    async with Tasks() as tasks:
        assert tasks.start("x", work, correlation_id="abc").correlation_id == "abc"
