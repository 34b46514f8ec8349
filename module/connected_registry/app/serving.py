"""The process: listeners, signals, and the order of start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import stamina.instrumentation
import structlog
import uvicorn

from connected_registry.app.replica import Replica
from connected_registry.connection_string import ListenAddress
from connected_registry.endpoint.server import serve_config
from connected_registry.errors import ConfigurationError, StorageError
from connected_registry.settings import Settings
from connected_registry.supervisor import Supervisor

BACKLOG: Final = 2048
log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the server configuration of what answers on it."""

    name: str
    socket: socket.socket
    config: uvicorn.Config


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to us: several run in one loop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(key: str, address: ListenAddress) -> socket.socket:
    """A listening TCP socket; `ConfigurationError` names the setting when it cannot be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            key,
            str(address),
            f"cannot listen there ({error.strerror or error}); choose a free port of this machine",
        ) from error
    listener.setblocking(False)
    return listener


def bind_control(path: Path) -> socket.socket:
    """The control socket, for this user only, in a folder whose lock we hold."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        # A socket's path may not exceed 107 bytes; the folder's descriptor keeps it short.
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.chmod(path.name, 0o600, dir_fd=folder)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StorageError(f"cannot make the control socket {path}: {error}") from error
    finally:
        os.close(folder)
    listener.setblocking(False)
    return listener


async def serve_until_stopped(
    listeners: list[Listener], started: Callable[[], Awaitable[None]]
) -> None:
    """Answer on every listener until SIGTERM or SIGINT; ``started`` runs once all of them do.

    A second signal ends the requests in flight at once.
    """
    servers = [_Server(listener.config) for listener in listeners]
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        log.info("replica.stopping", signal=signal.Signals(number).name)
        for server in servers:
            server.force_exit = stop.is_set()
            server.should_exit = True
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(server.serve(sockets=[listener.socket]), name=listener.name)
                for server, listener in zip(servers, listeners, strict=True)
            ]
            while not all(server.started for server in servers):
                if any(task.done() for task in tasks):
                    break
                await asyncio.sleep(0.01)
            await started()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run(main: Callable[[], Any]) -> None:
    """Run a coroutine function on uvloop where there is one (not on armv7), else on asyncio."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def serve(settings: Settings) -> None:
    """The whole process: open, listen, keep in sync, stop cleanly."""
    # What a sync came to is told once, at its end; each retry on the way would drown it.
    stamina.instrumentation.set_on_retry_hooks(())
    replica = Replica(settings, with_hub=True)
    await replica.open()
    try:
        replica.refuse_unguarded()
        await replica.certificates.open()
        address = settings.listen_address
        listeners = [
            Listener(
                "endpoint",
                bind("CONNECTED_REGISTRY_LISTEN", address),
                serve_config(
                    replica.endpoint(),
                    host=address.host,
                    port=address.port,
                    tls=replica.certificates.context,
                ),
            ),
            Listener(
                "control",
                bind_control(replica.store.folder.control_socket),
                serve_config(replica.control()),
            ),
        ]

        metrics = settings.metrics_address
        if metrics is not None:
            listeners.append(
                Listener(
                    "metrics",
                    bind("CONNECTED_REGISTRY_METRICS_LISTEN", metrics),
                    serve_config(replica.exposition()),
                )
            )

        async def started() -> None:
            host, port = listeners[0].socket.getsockname()[:2]
            scheme = "http" if replica.certificates.context is None else "https"
            log.info(
                "replica.serving", address=f"{scheme}://{host}:{port}", data=str(settings.data)
            )
            if replica.access.is_open:
                log.warning("replica.open", reason="no tokens are configured: everyone may enter")

        async with Supervisor() as supervisor:
            replica.start_jobs(supervisor)
            await serve_until_stopped(listeners, started)
    finally:
        await replica.close()
