"""Direct methods: one table for the hub, the control socket and the command line alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from connected_registry.edge import payload as payloads
from connected_registry.edge.payload import SCHEMA_VERSION, Payload
from connected_registry.edge.tasks import Task, Tasks, new_correlation_id
from connected_registry.errors import (
    ConfigurationError,
    Conflict,
    ParentError,
    RegistryError,
    ReplicaError,
    SyncRefused,
)

Answer = dict[str, Any]
ANSWER_WITHIN: Final = timedelta(seconds=4)
"""After this a method that is still busy is answered with 202 and goes on as a task."""
MAX_HUB_ANSWER: Final = 128 * 1024
"""IoT Hub's limit for the answer of a direct method, in bytes of JSON."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What the replica can do, as ``app`` wires it. What is None is not in this release.

    Each takes its checked payload and returns the answer's body. The ones that also take a
    `Task` are long: they run in the background under ``task.correlation_id``, tell ``task.report``
    how far they are and return the result. All may raise `ReplicaError`: `Conflict` is answered
    with 409, `ConfigurationError` with 400, `RegistryError` with its own status.
    """

    sync_now: Callable[[payloads.SyncNow, Task], Awaitable[Answer]]
    syncing: Callable[[], str | None]
    """The correlation id of the sync that runs, whoever started it."""
    cancel_sync: Callable[[], Awaitable[Answer]]
    pause_sync: Callable[[], Awaitable[Answer]]
    resume_sync: Callable[[], Awaitable[Answer]]
    plan_sync: Callable[[payloads.PlanSync, Task], Awaitable[Answer]]
    get_status: Callable[[], Awaitable[Answer]]
    list_images: Callable[[payloads.ListImages], Awaitable[Answer]]
    check_images: Callable[[payloads.CheckImages], Awaitable[Answer]]
    explain: Callable[[payloads.Explain], Awaitable[Answer]]
    find_run: Callable[[str], Awaitable[Answer | None]] | None = None
    """``getTaskStatus``'s answer for syncs that no method started, and those before a restart."""
    list_uploads: Callable[[payloads.ListUploads], Awaitable[Answer]] | None = None
    collect_garbage: Callable[[payloads.CollectGarbage, Task], Awaitable[Answer]] | None = None
    verify_store: Callable[[payloads.VerifyStore, Task], Awaitable[Answer]] | None = None
    purge: Callable[[payloads.Purge, Task], Awaitable[Answer]] | None = None
    upload_support_bundle: (
        Callable[[payloads.UploadSupportBundle, Task], Awaitable[Answer]] | None
    ) = None


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the contract's table."""

    name: str
    payload: type[Payload]
    answer: str
    meaning: str
    operation: str = field(compare=False)
    long: bool = False


def _method(
    name: str,
    operation: str,
    payload: type[Payload],
    answer: str,
    meaning: str,
    *,
    long: bool = False,
) -> Method:
    return Method(name, payload, answer, meaning, operation, long)


METHODS: Final[dict[str, Method]] = {
    method.name: method
    for method in (
        _method("ping", "_ping", payloads.Nothing, "200", "says that the module is there"),
        _method(
            "syncNow",
            "sync_now",
            payloads.SyncNow,
            "202 `{correlationId}`; 409 with the id of the sync that runs",
            "starts a sync at once",
            long=True,
        ),
        _method(
            "getTaskStatus",
            "_task_status",
            payloads.TaskQuery,
            "200 `{status, progress, result}`; 404",
            "says how far a task is",
        ),
        _method(
            "cancelSync",
            "cancel_sync",
            payloads.Nothing,
            "200",
            "stops the sync that runs; what has arrived is kept",
        ),
        _method("pauseSync", "pause_sync", payloads.Nothing, "200", "no sync starts until resumed"),
        _method("resumeSync", "resume_sync", payloads.Nothing, "200", "syncs start again"),
        _method(
            "planSync",
            "plan_sync",
            payloads.PlanSync,
            "202 `{correlationId}`; result: images, blobs, bytes, time",
            "says what a sync would do",
            long=True,
        ),
        _method("getStatus", "get_status", payloads.Nothing, "200", "everything reported, uncut"),
        _method("listImages", "list_images", payloads.ListImages, "200 page", "what is held here"),
        _method(
            "listUploads",
            "list_uploads",
            payloads.ListUploads,
            "200 page",
            "what was pushed here and waits to go up to the parent",
        ),
        _method(
            "checkImages",
            "check_images",
            payloads.CheckImages,
            "200 per image",
            "whether images are complete offline, and why not",
        ),
        _method(
            "explain",
            "explain",
            payloads.Explain,
            "200 reason",
            "the one reason why an image is absent or old",
        ),
        _method(
            "collectGarbage",
            "collect_garbage",
            payloads.CollectGarbage,
            "202 `{correlationId}`; result: what and how many bytes",
            "removes bytes that nothing names",
            long=True,
        ),
        _method(
            "verifyStore",
            "verify_store",
            payloads.VerifyStore,
            "202 `{correlationId}`; result: checked, damaged, repaired, unrecoverable",
            "hashes everything stored",
            long=True,
        ),
        _method(
            "purge",
            "purge",
            payloads.Purge,
            "202 `{correlationId}`",
            "removes images; in ReadOnly only what is out of scope",
            long=True,
        ),
        _method(
            "uploadSupportBundle",
            "upload_support_bundle",
            payloads.UploadSupportBundle,
            "202 `{correlationId}`; result: where the bundle is",
            "collects status, redacted settings, log and sync history",
            long=True,
        ),
    )
}
"""Every direct method by name, in the order of the contract."""


class Methods:
    """Answers direct methods. Lives as long as its `Tasks`."""

    def __init__(
        self, operations: Operations, tasks: Tasks, *, answer_within: timedelta = ANSWER_WITHIN
    ) -> None:
        self._operations = operations
        self._tasks = tasks
        self._answer_within = answer_within

    @property
    def available(self) -> frozenset[str]:
        """Names of the methods that are in this release."""
        return frozenset(
            method.name
            for method in METHODS.values()
            if getattr(self._operations, method.operation, self) is not None
        )

    async def invoke(
        self, name: str, payload: Any = None, *, max_answer: int | None = None
    ) -> tuple[int, Answer]:
        """Status and body, whatever happens: no exception but cancellation leaves this.

        ``max_answer`` is the longest body that the way back carries, in bytes of JSON.
        """
        try:
            status, body = await self._answer(name, payload)
            body = {**body, "schemaVersion": SCHEMA_VERSION}
            # Written once here, so that a body that is no JSON is our fault and told as such.
            size = len(json.dumps(body, ensure_ascii=False, allow_nan=False).encode())
        except ReplicaError as error:
            status, body = _refused(error)
            size = 0
        except Exception:
            correlation_id = new_correlation_id()
            _log.exception("method.failed", method=name[:100], correlation_id=correlation_id)
            status, size = 500, 0
            body = {"error": "internal error; see the log", "correlationId": correlation_id}
        if max_answer is not None and size > max_answer:
            status = 413
            body = {"error": f"the answer has {size} bytes of {max_answer}; ask for less"}
        # Last, because getStatus has an acknowledgement of that name.
        return status, {**body, "schemaVersion": SCHEMA_VERSION}

    async def _answer(self, name: str, payload: Any) -> tuple[int, Answer]:
        method = METHODS.get(name)
        if method is None:
            known = ", ".join(METHODS)
            return 404, {"error": f"no method is called {name[:100]!r}; there are {known}"}
        arguments = method.payload.read(payload)
        if name == "ping":
            return 200, {}
        if isinstance(arguments, payloads.TaskQuery):
            return await self._task_status(arguments.correlation_id)
        operation = getattr(self._operations, method.operation)
        if operation is None:
            return 501, {"error": "not available in this release"}
        if method.long:
            return self._start(method, operation, arguments)
        without = method.payload is payloads.Nothing
        return await self._call(method, lambda _: operation() if without else operation(arguments))

    def _start(
        self,
        method: Method,
        operation: Callable[[Payload, Task], Awaitable[Answer]],
        arguments: Payload,
    ) -> tuple[int, Answer]:
        busy = self._tasks.unfinished(method.name)
        running = busy.correlation_id if busy else None
        if method.name == "syncNow":
            running = running or self._operations.syncing()
        if running is not None:
            raise Conflict(f"{method.name}: one is running already", correlation_id=running)
        task = self._tasks.start(method.name, lambda task: operation(arguments, task))
        return 202, {"correlationId": task.correlation_id}

    async def _call(
        self, method: Method, work: Callable[[Task], Awaitable[Answer]]
    ) -> tuple[int, Answer]:
        task = self._tasks.start(method.name, work)
        try:
            ended = await self._tasks.wait(task, self._answer_within)
        except asyncio.CancelledError:
            self._tasks.forget(task)
            raise
        if not ended:
            return 202, {"correlationId": task.correlation_id}
        self._tasks.forget(task)
        if task.error is not None:
            if isinstance(task.error, ReplicaError):
                raise task.error
            return 500, {
                "error": "internal error; see the log",
                "correlationId": task.correlation_id,
            }
        return 200, task.result or {}

    async def _task_status(self, correlation_id: str) -> tuple[int, Answer]:
        task = self._tasks.get(correlation_id)
        if task is not None:
            return 200, task.to_json()
        if self._operations.find_run is not None:
            run = await self._operations.find_run(correlation_id)
            if run is not None:
                return 200, {"correlationId": correlation_id, **run}
        return 404, {"error": f"no task has the id {correlation_id!r}, or it is forgotten"}


def _refused(error: ReplicaError) -> tuple[int, Answer]:
    """How an expected error is told: 400 names the key, 409 the task in the way."""
    match error:
        case ConfigurationError():
            return 400, {"error": error.remedy, "key": error.key, "value": error.value}
        case Conflict(correlation_id=str() as correlation_id):
            return 409, {"error": str(error), "correlationId": correlation_id}
        case Conflict() | SyncRefused():
            return 409, {"error": str(error)}
        case RegistryError():
            return error.status, {"error": str(error)}
        case ParentError():
            return 502, {"error": str(error)}
        case _:
            return 500, {"error": str(error), "correlationId": new_correlation_id()}
