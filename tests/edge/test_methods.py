"""Direct methods."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge import payload
from connected_registry.edge.methods import METHODS, Methods, Operations
from connected_registry.edge.tasks import Task, Tasks
from connected_registry.errors import (
    ConfigurationError,
    Conflict,
    NameUnknown,
    ParentOffline,
    ReplicaError,
)

DIGEST = "sha256:" + "a" * 64


class Replica:
    """Operations that remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.running: str | None = None
        self.go = asyncio.Event()
        self.raises: Exception | None = None

    async def quick(self, *arguments: Any) -> dict[str, Any]:
        """Answer at once, or fail as told."""
        self.asked.extend(arguments)
        if self.raises is not None:
            raise self.raises
        return {"answer": 1}

    async def long(self, arguments: Any, task: Task) -> dict[str, Any]:
        """Work until told to end."""
        self.asked.append(arguments)
        task.report({"phase": "fetching"})
        await self.go.wait()
        return {"id": task.correlation_id}

    async def find_run(self, correlation_id: str) -> dict[str, Any] | None:
        """One sync of the past."""
        return {"status": "Completed"} if correlation_id == "past" else None

    @property
    def operations(self) -> Operations:
        """All that this release has."""
        return Operations(
            sync_now=self.long,
            syncing=lambda: self.running,
            cancel_sync=self.quick,
            pause_sync=self.quick,
            resume_sync=self.quick,
            plan_sync=self.long,
            get_status=self.quick,
            list_images=self.quick,
            check_images=self.quick,
            explain=self.quick,
            find_run=self.find_run,
        )


@pytest.fixture
def replica() -> Replica:
    """What the methods act on."""
    return Replica()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    """Where long methods run."""
    async with Tasks() as running:
        yield running


@pytest.fixture
async def methods(replica: Replica, tasks: Tasks) -> Methods:
    """The table over both."""
    return Methods(replica.operations, tasks)


ANSWERED = {"schemaVersion": "1.0", "answer": 1}
QUICK = ["cancelSync", "pauseSync", "resumeSync", "getStatus", "listImages"]


async def test_ping_is_answered(methods: Methods) -> None:
    """The module is there."""
    assert await methods.invoke("ping", None) == (200, {"schemaVersion": "1.0"})


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("given_payload", [None, {}, {"schemaVersion": "1.0"}])
async def test_payloads_may_be_left_out(
    methods: Methods, name: str, given_payload: dict[str, Any] | None
) -> None:
    """Null, an empty object and one with only the version are the same."""
    assert await methods.invoke(name, given_payload) == (200, ANSWERED)


async def test_unknown_methods_are_404(methods: Methods) -> None:
    """The answer names the methods that there are."""
    status, body = await methods.invoke("syncnow", {})
    assert status == 404
    assert "syncNow" in body["error"]


@pytest.mark.parametrize("name", ["collectGarbage", "verifyStore", "purge", "uploadSupportBundle"])
async def test_what_is_not_built_says_so(methods: Methods, name: str) -> None:
    """501, after the payload was found right; nothing pretends to have worked."""
    arguments = {"repository": "team/app"} if name == "purge" else {}
    status, body = await methods.invoke(name, arguments)
    assert (status, body["error"]) == (501, "not available in this release")


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("ping", {"x": 1}, "x"),
        ("ping", [], "payload"),
        ("ping", "text", "payload"),
        ("ping", {"schemaVersion": "2.0"}, "schemaVersion"),
        ("ping", {"schemaVersion": 1}, "schemaVersion"),
        ("syncNow", {"repository": "a"}, "repository"),
        ("syncNow", {"repositories": "a"}, "repositories"),
        ("syncNow", {"repositories": ["ok", "Not"]}, "repositories[1]"),
        ("syncNow", {"resync": "yes"}, "resync"),
        ("getTaskStatus", {}, "correlationId"),
        ("getTaskStatus", {"correlationId": 5}, "correlationId"),
        ("getTaskStatus", {"correlation_id": "a"}, "correlation_id"),
        ("planSync", {"repositories": [5]}, "repositories[0]"),
        ("listImages", {"limit": 0}, "limit"),
        ("listImages", {"limit": 10**9}, "limit"),
        ("listImages", {"limit": "10"}, "limit"),
        ("listImages", {"repository": "A"}, "repository"),
        ("checkImages", {}, "images"),
        ("checkImages", {"images": []}, "images"),
        ("checkImages", {"images": ["a:b:c"]}, "images[0]"),
        ("checkImages", {"images": ["a"], "platform": "arm"}, "platform"),
        ("explain", {"image": "a@sha256:1"}, "image"),
        ("collectGarbage", {"dryRun": 1}, "dryRun"),
        ("purge", {}, "repository"),
        ("purge", {"repository": "a", "tags": ["-"]}, "tags[0]"),
        ("uploadSupportBundle", {"sasUrl": "http://h/x"}, "sasUrl"),
    ],
)
async def test_wrong_payloads_name_the_key(
    methods: Methods, replica: Replica, name: str, arguments: Any, key: str
) -> None:
    """400 with the key, the value and the remedy; the operation is not reached."""
    status, body = await methods.invoke(name, arguments)
    assert (status, body["key"]) == (400, key)
    assert body["error"]
    assert "value" in body
    assert replica.asked == []


async def test_secrets_in_payloads_are_not_repeated(methods: Methods) -> None:
    """A wrong URL with a signature is refused without showing it."""
    _, body = await methods.invoke("uploadSupportBundle", {"sasUrl": "http://h/?sig=hunter2"})
    assert "hunter2" not in json.dumps(body)


async def test_payloads_reach_the_operation_checked(methods: Methods, replica: Replica) -> None:
    """The operation gets a value, with defaults filled in."""
    images = ["team/app:1.0", f"team/app@{DIGEST}"]
    await methods.invoke("checkImages", {"images": images, "platform": "linux/aarch64"})
    await methods.invoke("listImages", {})
    assert replica.asked == [
        payload.CheckImages(images=tuple(images), platform="linux/arm64"),
        payload.ListImages(limit=100),
    ]


async def test_long_methods_are_tasks(methods: Methods, replica: Replica) -> None:
    """202 with an id at once; getTaskStatus tells progress and then the result."""
    status, body = await methods.invoke("syncNow", {"repositories": ["team/app"]})
    assert status == 202
    question = {"correlationId": body["correlationId"]}
    await asyncio.sleep(0)
    status, answer = await methods.invoke("getTaskStatus", question)
    assert (status, answer["status"], answer["progress"]) == (200, "Running", {"phase": "fetching"})
    replica.go.set()
    while (await methods.invoke("getTaskStatus", question))[1]["status"] == "Running":
        await asyncio.sleep(0)
    _, answer = await methods.invoke("getTaskStatus", question)
    assert (answer["status"], answer["result"]) == ("Completed", {"id": body["correlationId"]})


async def test_a_second_sync_is_a_conflict(methods: Methods, replica: Replica) -> None:
    """409 names the one that runs, whether a method or the schedule started it."""
    _, first = await methods.invoke("syncNow", {})
    status, body = await methods.invoke("syncNow", {})
    assert (status, body["correlationId"]) == (409, first["correlationId"])
    replica.go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    replica.running = "scheduled"
    status, body = await methods.invoke("syncNow", {})
    assert (status, body["correlationId"]) == (409, "scheduled")


async def test_task_status_knows_the_past_and_the_unknown(methods: Methods) -> None:
    """Syncs that the ledger remembers are found; other ids are 404."""
    assert await methods.invoke("getTaskStatus", {"correlationId": "past"}) == (
        200,
        {"schemaVersion": "1.0", "correlationId": "past", "status": "Completed"},
    )
    assert (await methods.invoke("getTaskStatus", {"correlationId": "other"}))[0] == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("image", "x", "must be known"), 400),
        (NameUnknown(), 404),
        (Conflict("not now"), 409),
        (ParentOffline("no route"), 502),
        (ReplicaError("the disk is gone"), 500),
    ],
)
async def test_expected_errors_have_their_status(
    methods: Methods, replica: Replica, error: ReplicaError, status: int
) -> None:
    """Each kind of our own errors is answered with its sentence."""
    replica.raises = error
    found, body = await methods.invoke("explain", {"image": "a"})
    assert found == status
    assert body["error"]
    assert body["schemaVersion"] == "1.0"


async def test_unexpected_errors_are_500_with_an_id(methods: Methods, replica: Replica) -> None:
    """A fault of ours is logged under the id in the answer, and tells nothing else."""
    replica.raises = ValueError("hunter2")
    status, body = await methods.invoke("getStatus", {})
    assert status == 500
    assert body["correlationId"]
    assert "hunter2" not in json.dumps(body)


async def test_answers_that_are_no_json_are_500(replica: Replica, tasks: Tasks) -> None:
    """An operation that returns what cannot be sent is found here and not in the hub's thread."""

    async def odd() -> dict[str, Any]:
        return {"x": float("nan")}

    methods = Methods(replace(replica.operations, get_status=odd), tasks)
    assert (await methods.invoke("getStatus", {}))[0] == 500


async def test_slow_answers_become_tasks(replica: Replica, tasks: Tasks) -> None:
    """What is not done in time goes on under an id, so that the hub always has its answer."""

    async def slow() -> dict[str, Any]:
        await replica.go.wait()
        return {"answer": 1}

    methods = Methods(
        replace(replica.operations, get_status=slow), tasks, answer_within=timedelta(0)
    )
    status, body = await methods.invoke("getStatus", {})
    assert status == 202
    replica.go.set()
    task = tasks.get(body["correlationId"])
    assert task is not None
    await tasks.wait(task, timedelta(days=1))
    _, answer = await methods.invoke("getTaskStatus", {"correlationId": body["correlationId"]})
    assert answer["result"] == {"answer": 1}


async def test_answers_too_long_for_the_hub_are_413(replica: Replica, tasks: Tasks) -> None:
    """The hub carries 128 KB; a longer answer is refused with its size, not lost."""

    async def huge() -> dict[str, Any]:
        return {"images": ["x" * 100] * 2000}

    methods = Methods(replace(replica.operations, get_status=huge), tasks)
    assert (await methods.invoke("getStatus", {}, max_answer=128 * 1024))[0] == 413
    assert (await methods.invoke("getStatus", {}))[0] == 200


def test_every_method_of_the_contract_is_there() -> None:
    """The table has the contract's names, none with a dot."""
    assert list(METHODS) == [
        "ping",
        "syncNow",
        "getTaskStatus",
        "cancelSync",
        "pauseSync",
        "resumeSync",
        "planSync",
        "getStatus",
        "listImages",
        "listUploads",
        "checkImages",
        "explain",
        "collectGarbage",
        "verifyStore",
        "purge",
        "uploadSupportBundle",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(
    st.sampled_from([*METHODS, "other"]),
    st.dictionaries(
        st.sampled_from(["images", "repositories", "repository", "image", "limit", "x"]),
        json_values,
    )
    | json_values,
)
def test_no_payload_makes_a_method_raise(name: str, arguments: Any) -> None:
    """Whatever name and payload: a status and a JSON body with the version."""

    async def ask() -> tuple[int, dict[str, Any]]:
        replica = Replica()
        replica.go.set()
        async with Tasks() as tasks:
            return await Methods(replica.operations, tasks).invoke(name, arguments)

    status, body = asyncio.run(ask())
    assert status in {200, 202, 400, 404, 501}
    assert body["schemaVersion"] == "1.0"
    json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
