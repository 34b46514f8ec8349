"""Long work that a direct method starts and ``getTaskStatus`` asks about."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

import structlog

from connected_registry.errors import ParentOffline, ReplicaError

HISTORY: Final = 100
"""How many finished tasks are remembered."""

_log = structlog.stdlib.get_logger(__name__)


def new_correlation_id() -> str:
    """A fresh id under which a piece of work is found in answers, logs and the sync history."""
    return str(uuid.uuid4())


class TaskStatus(StrEnum):
    """The words that IoT Edge's own ``GetTaskStatus`` uses."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"


class Task:
    """One piece of work: what it is, how far it is, and what came of it."""

    def __init__(self, method: str, correlation_id: str, now: datetime) -> None:
        self.method = method
        self.correlation_id = correlation_id
        self.status = TaskStatus.NOT_STARTED
        self.created_at = now
        self.finished_at: datetime | None = None
        self.progress: dict[str, Any] | None = None
        self.result: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.done = asyncio.Event()

    def report(self, progress: dict[str, Any]) -> None:
        """Called by the work as it goes; the last one counts."""
        self.progress = progress

    def to_json(self) -> dict[str, Any]:
        """The answer of ``getTaskStatus``; keys without a value are left out."""
        document: dict[str, Any] = {
            "correlationId": self.correlation_id,
            "method": self.method,
            "status": self.status.value,
            "progress": self.progress,
            "result": self.result if self.error is None else explain_failure(self.error),
        }
        return {key: value for key, value in document.items() if value is not None}


Work = Callable[[Task], Awaitable[dict[str, Any]]]
"""Does the work of a task, reporting progress to it, and returns the result."""


def explain_failure(error: BaseException) -> dict[str, Any]:
    """The result of failed work: our own sentences as they are, of anything else only the kind."""
    if isinstance(error, ParentOffline):
        return {"error": str(error), "offline": True}
    if isinstance(error, ReplicaError):
        return {"error": str(error)}
    if isinstance(error, asyncio.CancelledError):
        return {"error": "the replica stopped before the work was done"}
    return {"error": f"internal error ({type(error).__name__}); the log has the details"}


class Tasks:
    """Runs work in the background of ``async with`` and remembers the last ``history`` results."""

    def __init__(
        self,
        *,
        history: int = HISTORY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._history = history
        self._clock = clock
        self._group: asyncio.TaskGroup | None = None
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        group, self._group = self._group, None
        assert group is not None
        for running in self._running:
            running.cancel()
        await group.__aexit__(None, None, None)

    def start(self, method: str, work: Work, *, correlation_id: str | None = None) -> Task:
        """Begin ``work`` and return at once."""
        if self._group is None:
            raise RuntimeError("tasks are not running")
        task = Task(method, correlation_id or new_correlation_id(), self._clock())
        self._tasks[task.correlation_id] = task
        running = self._group.create_task(self._run(task, work), name=f"task {method}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return task

    def get(self, correlation_id: str) -> Task | None:
        """The task of that id, while it is remembered."""
        return self._tasks.get(correlation_id)

    def forget(self, task: Task) -> None:
        """Drop a task whose result its caller already has."""
        self._tasks.pop(task.correlation_id, None)

    def unfinished(self, method: str) -> Task | None:
        """The task of that method that has not ended, if any."""
        for task in self._tasks.values():
            if task.method == method and task.finished_at is None:
                return task
        return None

    @staticmethod
    async def wait(task: Task, limit: timedelta) -> bool:
        """Whether ``task`` ended within ``limit``; it goes on in any case."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await task.done.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self, task: Task, work: Work) -> None:
        task.status = TaskStatus.RUNNING
        try:
            task.result = await work(task)
            task.status = TaskStatus.COMPLETED
        except asyncio.CancelledError as error:
            task.status, task.error = TaskStatus.FAILED, error
            raise
        except ReplicaError as error:
            task.status, task.error = TaskStatus.FAILED, error
        except Exception as error:
            task.status, task.error = TaskStatus.FAILED, error
            _log.exception("task.failed", method=task.method, correlation_id=task.correlation_id)
        finally:
            task.finished_at = self._clock()
            task.done.set()
            self._trim()

    def _trim(self) -> None:
        finished = [each for each in self._tasks.values() if each.finished_at is not None]
        for task in finished[: max(0, len(finished) - self._history)]:
            self.forget(task)
