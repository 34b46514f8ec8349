from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from connected_registry.edge.side_loop import SideLoop

LONG = timedelta(seconds=60)


@pytest.fixture
def side() -> Iterator[SideLoop]:
    """A loop that runs."""
    loop = SideLoop("side")
    loop.start()
    yield loop
    loop.stop()


async def test_work_runs_in_the_other_thread(side: SideLoop) -> None:
    """Its result comes back to ours."""

    async def work() -> str:
        return threading.current_thread().name

    assert await side.run(work, LONG) == "side"


async def test_an_exception_comes_back(side: SideLoop) -> None:
    """As if the work had been awaited here."""

    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await side.run(work, LONG)


async def test_work_that_exceeds_its_limit_goes_on(side: SideLoop) -> None:
    """The caller is told; the work is not cancelled."""
    release, ended = threading.Event(), threading.Event()

    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, release.wait)
        ended.set()

    with pytest.raises(TimeoutError):
        await side.run(work, timedelta(seconds=0.01))
    release.set()

    assert await asyncio.to_thread(ended.wait, 60)


async def test_blocking_work_leaves_our_threads_alone(side: SideLoop) -> None:
    """However much of it there is, our own default executor stays free."""
    release = threading.Event()

    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, release.wait)

    blocked = [side.submit(work) for _ in range(50)]
    try:
        assert await asyncio.to_thread(lambda: "free") == "free"
    finally:
        release.set()
        await asyncio.wait(blocked)


async def test_stopping_cancels_what_waits() -> None:
    """The thread ends though work has not."""
    loop = SideLoop("stopped")
    loop.start()
    waiting = loop.submit(lambda: asyncio.sleep(3600))
    await asyncio.to_thread(loop.stop)
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    assert "stopped" not in {thread.name for thread in threading.enumerate()}
