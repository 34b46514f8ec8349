"""Keep long-running jobs alive and say how each one is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import structlog

Job = Callable[[], Awaitable[None]]
"""A coroutine function without arguments; it is called again after each failure."""

FIRST_DELAY: Final = timedelta(seconds=1)
LONGEST_DELAY: Final = timedelta(minutes=1)

_log = structlog.stdlib.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


async def _sleep(delay: timedelta) -> None:
    await asyncio.sleep(delay.total_seconds())


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    FAILED = "failed"
    """It raised; another attempt follows after the delay."""
    FINISHED = "finished"
    """It returned by itself and is not started again."""
    STOPPED = "stopped"
    """The supervisor was left."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job as ``/healthz``, ``status`` and the twin show it."""

    name: str
    state: JobState
    since: datetime
    restarts: int = 0
    error: str | None = None
    """The last failure in one line; kept while the next attempt runs, to explain restarts."""
    retry_at: datetime | None = None

    @property
    def healthy(self) -> bool:
        """Whether the job does its work or has done it."""
        return self.state is not JobState.FAILED


class Supervisor:
    """``async with Supervisor() as supervisor: supervisor.start("sync", scheduler.run)``.

    A job that raises is started again after a delay that doubles up to ``longest_delay`` and
    starts over once the job has run for that long. Leaving the block cancels every job and waits
    for its clean-up.
    """

    def __init__(
        self,
        *,
        first_delay: timedelta = FIRST_DELAY,
        longest_delay: timedelta = LONGEST_DELAY,
        clock: Callable[[], datetime] = _now,
        sleep: Callable[[timedelta], Awaitable[None]] = _sleep,
        on_change: Callable[[JobStatus], None] | None = None,
    ) -> None:
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._clock = clock
        self._sleep = sleep
        self._on_change = on_change
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs: dict[str, JobStatus] = {}

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
        for task in self._tasks:
            task.cancel()
        # The body's own exception is not handed to the group, which would wrap it.
        await group.__aexit__(None, None, None)

    def start(self, name: str, job: Job) -> None:
        """Run ``job`` until it returns. Names are unique among the jobs of one supervisor."""
        if self._group is None:
            raise RuntimeError("the supervisor is not running")
        if name in self._jobs:
            raise ValueError(f"a job called {name} is already there")
        self._jobs[name] = JobStatus(name, JobState.RUNNING, self._clock())
        self._tasks.append(self._group.create_task(self._keep(name, job), name=f"job {name}"))

    @property
    def jobs(self) -> tuple[JobStatus, ...]:
        """Every job in the order of starting."""
        return tuple(self._jobs.values())

    @property
    def healthy(self) -> bool:
        """Whether no job is waiting for another attempt."""
        return all(job.healthy for job in self._jobs.values())

    async def _keep(self, name: str, job: Job) -> None:
        delay = self._first_delay
        restarts = 0
        error: str | None = None
        try:
            while True:
                begun = self._clock()
                self._set(JobStatus(name, JobState.RUNNING, begun, restarts, error))
                try:
                    await job()
                except Exception as failure:
                    error = describe(failure)
                    now = self._clock()
                    if now - begun >= self._longest_delay:
                        delay = self._first_delay
                    _log.exception("job.failed", job=name, retry_in=delay.total_seconds())
                    self._set(JobStatus(name, JobState.FAILED, now, restarts, error, now + delay))
                    await self._sleep(delay)
                    delay = min(delay * 2, self._longest_delay)
                    restarts += 1
                else:
                    self._set(JobStatus(name, JobState.FINISHED, self._clock(), restarts))
                    return
        except asyncio.CancelledError:
            self._set(JobStatus(name, JobState.STOPPED, self._clock(), restarts, error))
            raise

    def _set(self, status: JobStatus) -> None:
        self._jobs[status.name] = status
        if self._on_change is not None:
            try:
                self._on_change(status)
            except Exception:
                # A listener's fault must not take the job down with it.
                _log.exception("job.listener_failed", job=status.name)


def describe(error: BaseException) -> str:
    """An exception in one line: its text, or its type where it has none."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
