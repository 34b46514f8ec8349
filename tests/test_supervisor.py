"""Keeping jobs running."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from connected_registry.supervisor import JobState, JobStatus, Supervisor

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = START
        self.sleeps: list[timedelta] = []

    def __call__(self) -> datetime:
        """The time that it shows."""
        return self.now

    async def sleep(self, delay: timedelta) -> None:
        """Jump ahead and let others run."""
        self.sleeps.append(delay)
        self.now += delay
        await asyncio.sleep(0)


async def test_failed_jobs_start_again_with_doubling_delay() -> None:
    """A job that dies is retried after 1, 2, 4, ... seconds, never more than the longest delay."""
    clock, done = Clock(), asyncio.Event()
    attempts = 0

    async def job() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 5:
            raise OSError("no")
        done.set()

    supervisor = Supervisor(longest_delay=timedelta(seconds=6), clock=clock, sleep=clock.sleep)
    async with supervisor:
        supervisor.start("job", job)
        await done.wait()
    assert [delay.total_seconds() for delay in clock.sleeps] == [1, 2, 4, 6, 6]
    assert supervisor.jobs[0].restarts == 5


async def test_delay_starts_over_after_a_long_run() -> None:
    """A job that worked for a while before it died is retried soon."""
    clock, done = Clock(), asyncio.Event()
    attempts = 0

    async def job() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 4:
            done.set()
            return
        if attempts == 3:
            clock.now += timedelta(hours=1)
        raise OSError("no")

    async with Supervisor(clock=clock, sleep=clock.sleep) as supervisor:
        supervisor.start("job", job)
        await done.wait()
    assert [delay.total_seconds() for delay in clock.sleeps] == [1, 2, 1]


async def test_states_tell_what_goes_on() -> None:
    """A job is running, failed with its reason while it waits, running again, then finished."""
    clock, done = Clock(), asyncio.Event()
    seen: list[JobStatus] = []
    attempts = 0

    async def job() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ValueError("two\nlines")

    def changed(status: JobStatus) -> None:
        seen.append(status)
        if status.state is JobState.FINISHED:
            done.set()

    async with Supervisor(clock=clock, sleep=clock.sleep, on_change=changed) as supervisor:
        supervisor.start("job", job)
        await done.wait()
        assert supervisor.healthy
    states = [JobState.RUNNING, JobState.FAILED, JobState.RUNNING, JobState.FINISHED]
    assert [status.state for status in seen] == states
    assert seen[1].error == "two lines"
    assert seen[1].retry_at == START + timedelta(seconds=1)
    assert not seen[1].healthy


async def test_leaving_cancels_jobs_and_waits_for_their_clean_up() -> None:
    """Every job is cancelled at the end, and its ``finally`` has run when the block is left."""
    cleaned = False
    started = asyncio.Event()

    async def job() -> None:
        nonlocal cleaned
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    async with Supervisor() as supervisor:
        supervisor.start("job", job)
        await started.wait()
    assert cleaned
    assert supervisor.jobs[0].state is JobState.STOPPED


async def test_one_dead_job_leaves_the_others_alone() -> None:
    """A failing job neither stops its neighbour nor the block."""
    clock, done = Clock(), asyncio.Event()

    async def bad() -> None:
        raise RuntimeError("always")

    async def good() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        done.set()

    async with Supervisor(clock=clock, sleep=clock.sleep) as supervisor:
        supervisor.start("bad", bad)
        supervisor.start("good", good)
        await done.wait()
    assert [job.name for job in supervisor.jobs] == ["bad", "good"]


async def test_the_body_s_own_exception_is_not_wrapped() -> None:
    """An error inside the block comes out as it is, not in an exception group."""

    async def job() -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        async with Supervisor() as supervisor:
            supervisor.start("job", job)
            raise KeyError

    with pytest.raises(KeyError):
        await body()


async def test_listener_faults_do_not_reach_the_job() -> None:
    """A listener that raises is logged and nothing else."""
    done = asyncio.Event()

    async def job() -> None:
        done.set()

    def changed(_: JobStatus) -> None:
        raise RuntimeError("listener")

    async with Supervisor(on_change=changed) as supervisor:
        supervisor.start("job", job)
        await done.wait()


async def test_names_are_unique() -> None:
    """Two jobs of one name could not be told apart."""

    async def job() -> None:
        return

    async with Supervisor() as supervisor:
        supervisor.start("job", job)
        with pytest.raises(ValueError, match="job"):
            supervisor.start("job", job)
