"""From a file to a socket inside the kernel: the ASGI extension "Zero Copy Send".

The copying is done in a few threads of its own, which need no interpreter lock for it: a thread
gives the socket what it takes, waits a moment for more room, and gives way when the client is slow
or others wait. A slow client costs the loop one wake-up per emptied buffer, and no thread.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

ZERO_COPY: Final = "http.response.zerocopysend"
"""Name of the extension and of its message: ``file`` (a descriptor), ``count``, ``more_body``, and
``offset``, without which the file's own position is used and moved."""

PATIENCE: Final = 300.0
"""Seconds in which a client has to take something."""

_THREADS: Final = 4
_SLICE: Final = 0.2
"""Seconds after which a thread lets others have their turn."""
_MOMENT: Final = 20
"""Milliseconds a thread waits for a socket before it lets the loop do so."""
_MOST: Final = 1 << 30
"""Most bytes of one system call."""


class Transfer:
    """Bytes of an open file on their way to a socket; has duplicates of both, to be closed."""

    def __init__(self, target: int, source: int, offset: int | None, count: int) -> None:
        self.target = socket.socket(fileno=os.dup(target))
        self._source = os.dup(source)
        self._offset = offset
        self._left = count
        self._stopped = False
        self.starved = False
        """Whether the last run ended for want of room in the socket."""

    def run(self) -> bool:
        """Send for a while; whether it is over. Raises `OSError`. Blocks, but not for long."""
        until = time.monotonic() + _SLICE
        room = select.poll()
        room.register(self.target, select.POLLOUT)
        self.starved = False
        while self._left and not self._stopped:
            try:
                count = os.sendfile(
                    self.target.fileno(), self._source, self._offset, min(self._left, _MOST)
                )
            except BlockingIOError:
                if not room.poll(_MOMENT):
                    self.starved = True
                    return False
                continue
            if count == 0:
                raise OSError("the file ends early")
            self._left -= count
            if self._offset is not None:
                self._offset += count
            if time.monotonic() >= until:
                break
        return not self._left or self._stopped

    def stop(self) -> None:
        """Send no more: the connection is gone."""
        self._stopped = True
        with suppress(OSError):
            # Whoever waits for room in the socket learns of it by this.
            self.target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the duplicates. Not while `run` runs."""
        self.target.close()
        os.close(self._source)


class Senders:
    """The threads of one server; none is started before it is needed."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "sendfile")

    async def send(self, transfer: Transfer) -> None:
        """Run a transfer to its end, and close it.

        Raises `OSError`, and `TimeoutError` where the client takes nothing for `PATIENCE`.
        """
        loop = asyncio.get_running_loop()
        run: asyncio.Future[bool] | None = None
        try:
            while True:
                run = loop.run_in_executor(self._threads, transfer.run)
                if await asyncio.shield(run):
                    return
                if transfer.starved:
                    await _writable(loop, transfer.target)
        finally:
            if run is None or run.done():
                transfer.close()
            else:
                transfer.stop()
                run.add_done_callback(lambda _: transfer.close())


async def _writable(loop: asyncio.AbstractEventLoop, target: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_writer(target, ready.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await ready.wait()
    finally:
        loop.remove_writer(target)
