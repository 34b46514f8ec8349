"""Methods of this machine's command line only: they name files here, so no hub may call them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connected_registry.edge.methods import Answer
from connected_registry.edge.payload import Payload
from connected_registry.edge.tasks import Task, Tasks
from connected_registry.errors import ConfigurationError

Invoke = Callable[[str, Any], Awaitable[tuple[int, Any]]]


@dataclass(frozen=True, slots=True)
class LocalMethod:
    """Long work under one name: what it takes, and what does it."""

    payload: type[Payload]
    work: Callable[[Any, Task], Awaitable[Answer]]


class LocalMethods:
    """The local methods before the direct ones; all tasks are asked about by ``getTaskStatus``."""

    def __init__(self, table: Mapping[str, LocalMethod], tasks: Tasks, others: Invoke) -> None:
        self._table = table
        self._tasks = tasks
        self._others = others

    async def invoke(self, name: str, payload: Any = None) -> tuple[int, Any]:
        """Status and body: 202 with a correlation id, 400, or 409 while one of the name runs."""
        method = self._table.get(name)
        if method is None:
            return await self._others(name, payload)
        try:
            arguments = method.payload.read(payload)
        except ConfigurationError as error:
            return 400, {"error": error.remedy, "key": error.key, "value": error.value}
        running = self._tasks.unfinished(name)
        if running is not None:
            return 409, {
                "error": f"{name}: one is running already; try again when it has ended",
                "correlationId": running.correlation_id,
            }
        task = self._tasks.start(name, lambda task: method.work(arguments, task))
        return 202, {"correlationId": task.correlation_id}
