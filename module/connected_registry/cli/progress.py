"""Following a task to its end: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self

from connected_registry.cli.connection import Connection
from connected_registry.cli.output import human_bytes, human_duration
from connected_registry.errors import ReplicaError

POLL = 0.2
PLAIN_INTERVAL = 5.0


class ProgressView(Protocol):
    """Shows one task's progress while entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def show(self, progress: dict[str, Any]) -> None:
        """Show the contract's ``progress`` object."""


class QuietView:
    """Shows nothing: for ``--json``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: dict[str, Any]) -> None:
        """Nothing to see."""


class PlainView(QuietView):
    """A line when the phase changes and every few seconds, on standard error."""

    def __init__(self) -> None:
        self._phase = ""
        self._next = 0.0

    def show(self, progress: dict[str, Any]) -> None:
        """Print when there is news."""
        phase = str(progress.get("phase", ""))
        now = time.monotonic()
        if phase == self._phase and now < self._next:
            return
        self._phase, self._next = phase, now + PLAIN_INTERVAL
        sys.stderr.write(describe(progress) + "\n")
        sys.stderr.flush()


class BarView:
    """A bar that counts bytes, with rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("planning", total=None)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def show(self, progress: dict[str, Any]) -> None:
        """Move the bar."""
        images = f"{progress.get('imagesDone', 0)}/{progress.get('imagesTotal', 0)} images"
        self._bar.update(
            self._task,
            description=f"{progress.get('phase', '')} {images}",
            completed=progress.get("bytesDone", 0),
            total=progress.get("bytesTotal") or None,
        )


def view_for(*, quiet: bool) -> ProgressView:
    """The view that fits where the output goes."""
    if quiet:
        return QuietView()
    return BarView() if sys.stderr.isatty() else PlainView()


def describe(progress: dict[str, Any]) -> str:
    """One line: phase, images, bytes, rate, time left and what is at hand."""
    parts = [str(progress.get("phase", "working"))]
    if progress.get("imagesTotal"):
        done = human_bytes(progress.get("bytesDone") or 0)
        parts += [
            f"images {progress.get('imagesDone', 0)}/{progress['imagesTotal']}",
            f"{done} of {human_bytes(progress.get('bytesTotal') or 0)}",
        ]
    if progress.get("bytesPerSecond"):
        parts.append(f"{human_bytes(progress['bytesPerSecond'])}/s")
    if progress.get("etaSeconds") is not None:
        parts.append(f"{human_duration(progress['etaSeconds'])} left")
    if progress.get("current"):
        parts.append(str(progress["current"]))
    return ", ".join(parts)


async def follow(connection: Connection, correlation_id: str, view: ProgressView) -> dict[str, Any]:
    """Wait for a task and return its ``getTaskStatus`` answer; `ReplicaError` when it is lost."""
    with view:
        while True:
            status, body = await connection.invoke(
                "getTaskStatus", {"correlationId": correlation_id}
            )
            if status != 200:
                raise ReplicaError(f"task {correlation_id}: {body.get('error', status)}")
            if body.get("progress"):
                view.show(body["progress"])
            if body["status"] in ("Completed", "Failed"):
                return body
            await asyncio.sleep(POLL)
