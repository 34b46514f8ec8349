"""One command's session with a replica: the running one, or one opened for the command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from connected_registry import log
from connected_registry.app.replica import Replica
from connected_registry.cli.connection import Connection, connect_socket, explain_lock
from connected_registry.cli.exits import Exit
from connected_registry.errors import ConfigurationError, FolderInUse, ReplicaError
from connected_registry.settings import Settings

STARTING: Final = 10
STARTING_PAUSE: Final = 0.3
"""How often, and with what pause in seconds, a replica that starts or stops is asked again."""

Ask = Callable[[Connection], Awaitable[Exit]]


def settings_from(
    data: Path | None = None,
    listen: str | None = None,
    twin: Path | None = None,
    reported: Path | None = None,
) -> Settings:
    """The environment's settings with a command's options over them."""
    given = {"data": data, "listen": listen, "twin": twin, "reported": reported}
    return Settings.load(**{key: value for key, value in given.items() if value is not None})


@asynccontextmanager
async def _connect(data: Path | None, twin: Path | None) -> AsyncIterator[Connection]:
    settings = settings_from(data=data, twin=twin)
    for patience in range(STARTING + 1):
        async with connect_socket(settings.data) as running:
            if running is not None:
                if twin is not None:
                    raise ConfigurationError(
                        "--twin",
                        str(twin),
                        "a replica with a twin of its own runs on this data folder; leave it out",
                    )
                yield running
                return
        log.configure(form=settings.log_format, floor="Warning")  # the answer tells the rest
        replica = Replica(settings)
        try:
            await replica.open()
            break
        except FolderInUse as error:
            if patience == STARTING:
                raise explain_lock(error) from error
            await asyncio.sleep(STARTING_PAUSE)
    try:
        yield replica.local
    finally:
        await replica.close()


def run(data: Path | None, twin: Path | None, ask: Ask) -> Exit:
    """Let ``ask`` speak with the replica of a data folder; the exit code it gives."""

    async def connected() -> Exit:
        async with _connect(data, twin) as connection:
            return await ask(connection)

    return asyncio.run(connected())


async def call(connection: Connection, name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer of a method. Raises `ConfigurationError`, `ReplicaError` when it is refused."""
    status, body = await connection.invoke(name, payload)
    if status == 400:
        raise ConfigurationError(
            str(body.get("key", name)), body.get("value"), str(body.get("error", "is wrong"))
        )
    if status >= 300:
        raise ReplicaError(str(body.get("error", f"{name} answered {status}")))
    return body
