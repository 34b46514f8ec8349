"""An event loop in a thread of its own, for a library whose calls may block or never return.

The hub SDK blocks threads of the default executor while its one worker is busy. On our own loop
that would take the threads that storage needs; here it can only starve itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final, TypeVar

THREADS: Final = 8
STOP_LIMIT: Final = 2.0
"""Seconds that the thread may take to end; it is a daemon and left behind after that."""

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class SideLoop:
    """Work is submitted from our loop and runs on this one; nothing of it is ever cancelled."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._loop.set_default_executor(self._executor)
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel what is left and end the thread, unless something blocks it."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._thread.join(STOP_LIMIT)
        if not self._thread.is_alive():
            self._loop.close()

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """Start ``work``; the future belongs to the caller's loop. To be waited for, not awaited.

        Cancelling the future would cancel the work: hence `run`, and ``asyncio.wait``.
        """
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self._loop))
        # An outcome that comes after everyone has gone is nobody's error.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    async def run(self, work: Work[T], limit: timedelta) -> T:
        """The result of ``work``; `TimeoutError` after ``limit``, while the work goes on."""
        future = self.submit(work)
        await asyncio.wait({future}, timeout=limit.total_seconds())
        if not future.done():
            raise TimeoutError
        return future.result()


async def _cancel_all() -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop.call_soon(loop.stop)
