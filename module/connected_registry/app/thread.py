"""Blocking work that is seen through when its task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def see_through(work: Callable[[], Result]) -> Result:
    """Run ``work`` in a thread; a cancelled caller waits for its end, so that nobody closes what
    it works with.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
