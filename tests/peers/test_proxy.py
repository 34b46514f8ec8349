"""The proxy itself: a fault injector that injects nothing would make every fault test pass."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from peers.proxy import CountingProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = bytes(range(256)) * 4096


@pytest.fixture
def upstream() -> Iterator[int]:
    """A server that sends BODY after one byte has come, and then ends the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1) == b"?":
                    try:
                        connection.sendall(BODY)
                    except OSError:
                        continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def ask(proxy: CountingProxy, timeout: float = 30) -> bytes:
    """Everything that one connection brings."""
    with socket.create_connection((proxy.host, proxy.port), timeout=timeout) as connection:
        connection.sendall(b"?")
        received = bytearray()
        while data := connection.recv(65536):
            received += data
        return bytes(received)


def test_passes_and_counts_both_ways(upstream: int) -> None:
    """Without a fault every byte passes and is counted."""
    with CountingProxy("127.0.0.1", upstream) as proxy:
        assert ask(proxy) == BODY
        assert (proxy.bytes_up, proxy.bytes_down, proxy.connections) == (1, len(BODY), 1)


def test_cuts_exactly_once(upstream: int) -> None:
    """A cut ends one connection behind the byte asked for, and the next one is whole."""
    with CountingProxy("127.0.0.1", upstream) as proxy:
        proxy.cut_after(100_000)
        assert ask(proxy) == BODY[:100_000]
        assert ask(proxy) == BODY
        assert proxy.cuts == 1


def test_refuses_and_heals_on_the_same_port(upstream: int) -> None:
    """A refusing proxy refuses at connect time and later answers on the same port again."""
    with CountingProxy("127.0.0.1", upstream) as proxy:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
        proxy.heal()
        assert ask(proxy) == BODY


@pytest.mark.parametrize("accept", [True, False])
def test_black_hole_lets_nothing_pass(upstream: int, accept: bool) -> None:
    """In a black hole a connection neither fails nor brings anything."""
    with CountingProxy("127.0.0.1", upstream) as proxy:
        proxy.black_hole(accept=accept)
        with pytest.raises(TimeoutError):
            ask(proxy, timeout=0.3)
        assert proxy.bytes_down == 0
        proxy.heal()
        assert ask(proxy) == BODY


async def test_stalled_connection_goes_on_after_healing(upstream: int) -> None:
    """A connection caught in the black hole gets its bytes when the link is back."""
    async with CountingProxy("127.0.0.1", upstream) as proxy:
        proxy.black_hole()
        asking = asyncio.create_task(asyncio.to_thread(ask, proxy))
        await asyncio.sleep(0)
        proxy.heal()
        assert await asking == BODY
