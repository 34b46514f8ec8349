"""Blobs: whole, in ranges, or only asked about."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connected_registry.endpoint.answer import entity_tag, is_known
from connected_registry.endpoint.services import Call, Pull
from connected_registry.errors import BlobDamaged, BlobUnknown
from connected_registry.oci.ranges import parse_range
from connected_registry.storage import disk
from connected_registry.storage.content import StoredBlob
from connected_registry.storage.registry import Registry

CHUNK: Final = 1024 * 1024
"""Bytes read and written at once. Under TLS the size of the write decides the speed."""

PATIENCE: Final = 300.0
"""Seconds a client may take for one chunk before it counts as gone."""

_OCTETS: Final = "application/octet-stream"

_log = structlog.stdlib.get_logger(__name__)


async def get_blob(call: Call) -> Response:
    """The blob's bytes, or those of its ranges that were asked for."""
    registry = call.services.registry
    blob = registry.cached_blob(call.repository, call.digest)
    if blob is None:
        try:
            blob = await asyncio.to_thread(registry.stat_blob, call.repository, call.digest)
        except BlobDamaged:
            if call.is_head:
                # A push that asks before it sends will send it, and so mend it.
                raise BlobUnknown(detail={"digest": call.digest}) from None
            raise
    headers = {
        "Docker-Content-Digest": blob.digest,
        "ETag": entity_tag(blob.digest),
        "Accept-Ranges": "bytes",
        "Content-Type": _OCTETS,
    }
    if is_known(call.header("if-none-match"), blob.digest):
        return Response(status_code=304, headers=headers)
    if call.is_head:
        return Response(headers={**headers, "Content-Length": str(blob.size)})
    ranges = parse_range(_range(call, blob), blob.size)
    parts = _parts(ranges, blob.size)
    file = await asyncio.to_thread(_open, call.services.registry, blob)
    status = 200
    if ranges is not None:
        status = 206
        if len(ranges) == 1:
            headers["Content-Range"] = _content_range(*ranges[0], blob.size)
        else:
            boundary = secrets.token_hex(16)
            headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
            parts = _multipart(ranges, blob.size, boundary)
    headers["Content-Length"] = str(sum(len(part.head) + part.length for part in parts))
    usage = call.services.usage

    def served(count: int) -> None:
        if usage is not None:
            usage(Pull("blob", call.repository, call.digest, count, call.principal))

    return BlobResponse(status, headers, file, parts, served)


async def delete_blob(call: Call) -> Response:
    """Stop showing the blob in this repository."""
    await asyncio.to_thread(call.services.registry.delete_blob, call.repository, call.digest)
    return Response(status_code=202)


@dataclass(frozen=True, slots=True)
class Part:
    """``head`` as it is, then ``length`` bytes of the file from ``offset``."""

    head: bytes
    offset: int
    length: int


class BlobResponse(Response):
    """Sends parts of an open file, which it closes.

    Reading stops as soon as the client is gone: some open many ranges without an end and drop the
    connection after the piece they wanted.
    """

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        file: FileIO,
        parts: list[Part],
        served: Callable[[int], None],
    ) -> None:
        super().__init__(None, status, headers)
        self._file = file
        self._parts = parts
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `OSError` where the file ends early, so that the client sees a cut connection."""
        gone = asyncio.ensure_future(_disconnected(receive))
        sent = 0
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            for part in self._parts:
                if part.head:
                    await _send(send, part.head)
                offset, end = part.offset, part.offset + part.length
                while offset < end:
                    if gone.done():
                        return
                    chunk = await asyncio.to_thread(
                        os.pread, self._file.fileno(), min(CHUNK, end - offset), offset
                    )
                    if not chunk:
                        raise OSError(f"a stored blob is cut short at byte {offset}")
                    await _send(send, chunk)
                    offset += len(chunk)
                    sent += len(chunk)
            await _send(send, b"", more=False)
        except TimeoutError:
            _log.info("blob.client_stalled", sent=sent)
            raise
        finally:
            gone.cancel()
            self._file.close()
            self._served(sent)


async def _send(send: Send, content: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(PATIENCE):
        await send({"type": "http.response.body", "body": content, "more_body": more})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _range(call: Call, blob: StoredBlob) -> str | None:
    """The Range header, unless ``If-Range`` says that it was meant for other bytes."""
    condition = call.header("if-range")
    if condition is not None and condition.strip() != entity_tag(blob.digest):
        return None
    return call.header("range")


def _open(registry: Registry, blob: StoredBlob) -> FileIO:
    """The file. Raises `BlobDamaged` where it is gone or of another size."""
    try:
        file = FileIO(disk.look(blob.path))
    except OSError:
        registry.suspect(blob.digest)
        raise BlobDamaged(detail={"digest": blob.digest}) from None
    if os.fstat(file.fileno()).st_size != blob.size:
        file.close()
        registry.suspect(blob.digest)
        raise BlobDamaged(detail={"digest": blob.digest})
    return file


def _parts(ranges: list[tuple[int, int]] | None, size: int) -> list[Part]:
    if ranges is None:
        return [Part(b"", 0, size)]
    return [Part(b"", first, last - first + 1) for first, last in ranges]


def _multipart(ranges: list[tuple[int, int]], size: int, boundary: str) -> list[Part]:
    """RFC 9110, section 14.6."""
    parts = []
    for number, (first, last) in enumerate(ranges):
        before = "\r\n" if number else ""
        head = (
            f"{before}--{boundary}\r\nContent-Type: {_OCTETS}\r\n"
            f"Content-Range: {_content_range(first, last, size)}\r\n\r\n"
        )
        parts.append(Part(head.encode(), first, last - first + 1))
    return [*parts, Part(f"\r\n--{boundary}--\r\n".encode(), 0, 0)]


def _content_range(first: int, last: int, size: int) -> str:
    return f"bytes {first}-{last}/{size}"
