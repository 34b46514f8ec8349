"""An HTTP proxy that knows only CONNECT, and sends each tunnel where the test wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Tunnel:
    """``asked`` lists the targets that clients named; all of them lead to ``target``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.corrupting = False
        """Whether the bytes towards the client are changed on the way."""
        self._target = target

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(" ".join(head.split(" ")[:2]))
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(
                _pump(reader, far_writer, lambda data: data),
                _pump(far_reader, writer, self._spoil),
            )
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _spoil(self, data: bytes) -> bytes:
        return bytes([*data[:-1], data[-1] ^ 1]) if self.corrupting else data


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    change: Callable[[bytes], bytes],
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(change(data))
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def tunnel(target: tuple[str, int]) -> AsyncIterator[Tunnel]:
    """A proxy on a free port of 127.0.0.1."""
    made = Tunnel(target)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
