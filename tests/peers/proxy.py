"""A TCP proxy that stands for the link between two sites: it counts, cuts, stalls and slows.

::

    with CountingProxy("127.0.0.1", registry.port) as proxy:      # or ``async with``
        client_of(proxy.port)
        proxy.cut_after(1_000_000)      # then the connection ends; later ones work again
        proxy.refuse()                  # connection refused, open ones end
        proxy.black_hole()              # nothing passes, nothing is refused
        proxy.heal()
        proxy.bytes_down, proxy.bytes_up, proxy.connections

"Down" is from the upstream to the client. The proxy runs a loop in a thread of its own, so that
it works the same under synchronous and asynchronous tests; every method may be called from any
thread, and has taken effect when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CHUNK = 64 * 1024


class CountingProxy:
    """One link. Connections made before a method call are affected by it as well."""

    def __init__(
        self, upstream_host: str, upstream_port: int, *, listen_host: str = "127.0.0.1"
    ) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.host = listen_host
        self.port = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.connections = 0
        self.cuts = 0
        self._cut_left: int | None = None
        self._cut_reset = False
        self._rate: float | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: dict[asyncio.Task[None], tuple[socket.socket, ...]] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._fillers: list[socket.socket] = []

    @property
    def address(self) -> str:
        """``host:port`` to connect to."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._listener = self._bind(0)
        self.port = self._listener.getsockname()[1]
        self._thread.start()
        self._passing = asyncio.Event()
        self._call(self._heal)
        return self

    def __exit__(self, *exc: object) -> None:
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__(*exc)

    def reset_counters(self) -> None:
        """Count from zero again."""
        self.bytes_up = self.bytes_down = self.connections = self.cuts = 0

    def cut_after(self, count: int, *, reset: bool = False) -> None:
        """End the connection that carries the ``count``-th byte down from now, exactly behind it.

        It happens once: call again for another cut. ``reset`` ends by RST instead of FIN; then
        the last bytes may be lost on the way, as on a real link.
        """
        self._cut_left, self._cut_reset = count, reset

    def cut_now(self) -> None:
        """End every open connection; new ones work."""
        self._call(self._drop_open)

    def rate_limit(self, bytes_per_second: float | None) -> None:
        """Slow each connection's way down to about this rate; None removes the limit."""
        self._rate = bytes_per_second

    def refuse(self) -> None:
        """End every connection and refuse new ones, as a stopped server does."""
        self._call(self._refuse)

    def black_hole(self, *, accept: bool = True) -> None:
        """Let nothing pass any more and refuse nothing.

        New connections are opened but stay silent; with ``accept=False`` even their opening
        packets are dropped, as behind a firewall.
        """
        self._call(lambda: self._black_hole(accept))

    def heal(self) -> None:
        """Forget every fault; stalled connections go on where they were."""
        self._cut_left = self._rate = None
        self._call(self._heal)

    def _call(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(function(), self._loop).result()

    def _bind(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, port))
        listener.setblocking(False)
        return listener

    async def _rebind(self) -> None:
        """A bound socket that does not listen refuses connections and keeps the port ours."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._listener.close()
        self._listener = self._bind(self.port)

    async def _heal(self) -> None:
        self._passing.set()
        if self._accepting is None:
            await self._rebind()
            self._listener.listen(128)
            self._accepting = asyncio.create_task(self._accept())

    async def _refuse(self) -> None:
        await self._rebind()
        await self._drop_open()

    async def _black_hole(self, accept: bool) -> None:
        self._passing.clear()
        if accept:
            return
        await self._rebind()
        self._listener.listen(0)
        for _ in range(2):  # a full queue makes the kernel drop further opening packets
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)

    async def _drop_open(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop(self) -> None:
        await self._rebind()
        await self._drop_open()
        self._listener.close()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            self.connections += 1
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._serve(client))
            self._open[task] = (client,)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        for end in self._open.pop(task):
            end.close()
        if not task.cancelled():
            task.exception()

    async def _serve(self, client: socket.socket) -> None:
        await self._passing.wait()
        upstream = socket.socket()
        upstream.setblocking(False)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = (client, upstream)
        await self._loop.sock_connect(upstream, self.upstream)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pumps = [
            asyncio.create_task(self._pump_up(client, upstream)),
            asyncio.create_task(self._pump_down(upstream, client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump_up(self, client: socket.socket, upstream: socket.socket) -> None:
        while data := await self._loop.sock_recv(client, CHUNK):
            await self._passing.wait()
            await self._loop.sock_sendall(upstream, data)
            self.bytes_up += len(data)
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_WR)

    async def _pump_down(self, upstream: socket.socket, client: socket.socket) -> None:
        while data := await self._loop.sock_recv(upstream, self._chunk()):
            await self._passing.wait()
            cut = self._cut_left is not None and len(data) >= self._cut_left
            if cut:
                data = data[: self._cut_left]
                self._cut_left = None
                self.cuts += 1
            elif self._cut_left is not None:
                self._cut_left -= len(data)
            await self._loop.sock_sendall(client, data)
            self.bytes_down += len(data)
            if cut:
                self._end(client)
            if self._rate is not None:
                await asyncio.sleep(len(data) / self._rate)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)

    def _chunk(self) -> int:
        return CHUNK if self._rate is None else max(1, min(CHUNK, int(self._rate / 20)))

    def _end(self, client: socket.socket) -> None:
        if self._cut_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            client.shutdown(socket.SHUT_WR)
        raise ConnectionAbortedError("cut on purpose")
