"""Wait for several things at once and fail as the first of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

LIMIT: Final = 8


async def together(
    work: Iterable[Coroutine[Any, Any, Result]], *, limit: int = LIMIT
) -> list[Result]:
    """The results in order, at most ``limit`` running at a time.

    The first failure cancels the rest and is raised as it is.
    """
    every = list(work)
    if len(every) == 1:
        return [await every[0]]
    places = asyncio.Semaphore(limit)

    async def placed(each: Coroutine[Any, Any, Result]) -> Result:
        async with places:
            return await each

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(placed(each)) for each in every]
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None
    finally:
        for each in every:
            each.close()
    return [task.result() for task in tasks]


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception of a group, however deep."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
