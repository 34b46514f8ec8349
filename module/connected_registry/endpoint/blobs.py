"""Blobs: whole, in ranges, or only asked about."""

from __future__ import annotations

import asyncio
import errno
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
from connected_registry.endpoint.memory import SMALL
from connected_registry.endpoint.services import Call, EndpointServices, Pull
from connected_registry.endpoint.zero_copy import ZERO_COPY
from connected_registry.errors import BlobDamaged, BlobUnknown
from connected_registry.oci.ranges import parse_range
from connected_registry.storage import disk
from connected_registry.storage.content import StoredBlob
from connected_registry.storage.registry import Registry

CHUNK: Final = 1024 * 1024
"""Bytes read and written at once. Under TLS the size of the write decides the speed."""

PATIENCE: Final = 300.0
"""Seconds a client may take for one chunk before it counts as gone."""

CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_OCTETS: Final = "application/octet-stream"

_log = structlog.stdlib.get_logger(__name__)


async def get_blob(call: Call) -> Response:
    """The blob's bytes, or those of its ranges that were asked for."""
    registry, services = call.services.registry, call.services
    blob = registry.cached_blob(call.repository, call.digest)
    if blob is None:
        try:
            blob = await asyncio.to_thread(registry.stat_blob, call.repository, call.digest)
        except BlobDamaged:
            if call.is_head:
                # A push that asks before it sends will send it, and so mend it.
                raise BlobUnknown(detail={"digest": call.digest}) from None
            raise
    if blob.size <= SMALL:
        content = services.memory.get(blob.digest)
        if content is None and not call.is_head:
            content = await asyncio.to_thread(_load, services, blob)
        response, pull = _present(call, blob, content or b"")
        if pull is not None and services.usage is not None:
            services.usage(pull)
        return response
    selection = _select(call, blob)
    if selection.parts is None:
        return Response(status_code=selection.status, headers=selection.headers)
    file = await asyncio.to_thread(_open, registry, blob)
    usage = services.usage

    def served(count: int) -> None:
        if usage is not None:
            usage(Pull("blob", call.repository, call.digest, count, call.principal))

    return BlobResponse(selection.status, selection.headers, file, selection.parts, served)


def recall_blob(call: Call) -> tuple[Response, Pull | None] | None:
    """The same answer, and what is to be told of it, if all of it is in memory."""
    blob = call.services.registry.cached_blob(call.repository, call.digest)
    if blob is None:
        return None
    content = b"" if call.is_head else call.services.memory.get(blob.digest)
    return None if content is None else _present(call, blob, content)


def _present(call: Call, blob: StoredBlob, content: bytes) -> tuple[Response, Pull | None]:
    """The answer with ``content``, which is at hand, and what is to be told of it."""
    selection = _select(call, blob)
    if selection.parts is None:
        return Response(status_code=selection.status, headers=selection.headers), None
    body = b"".join(
        part.head + content[part.offset : part.offset + part.length] for part in selection.parts
    )
    count = sum(part.length for part in selection.parts)
    pull = Pull("blob", call.repository, call.digest, count, call.principal)
    return Response(body, selection.status, selection.headers), pull


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


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a blob is sent; ``parts`` is None where only headers are."""

    status: int
    headers: dict[str, str]
    parts: list[Part] | None = None


def _select(call: Call, blob: StoredBlob) -> Selection:
    """Which bytes the request asks for. Raises `RangeInvalid`."""
    headers = {
        "Docker-Content-Digest": blob.digest,
        "ETag": entity_tag(blob.digest),
        "Accept-Ranges": "bytes",
        "Content-Type": _OCTETS,
    }
    if is_known(call.header("if-none-match"), blob.digest):
        return Selection(304, headers)
    if call.is_head:
        return Selection(200, {**headers, "Content-Length": str(blob.size)})
    status = 200
    ranges = parse_range(_range(call, blob), blob.size)
    parts = _parts(ranges, blob.size)
    if ranges is not None:
        status = 206
        if len(ranges) == 1:
            headers["Content-Range"] = _content_range(*ranges[0], blob.size)
        else:
            boundary = secrets.token_hex(16)
            headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
            parts = _multipart(ranges, blob.size, boundary)
    headers["Content-Length"] = str(sum(len(part.head) + part.length for part in parts))
    return Selection(status, headers, parts)


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
        piecewise = ZERO_COPY not in scope.get("extensions", {})
        sent = at = 0
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
                while offset < end and not gone.done():
                    at = offset
                    os.lseek(self._file.fileno(), offset, os.SEEK_SET)
                    if piecewise:
                        await self._send_piece(send, min(CHUNK, end - offset))
                    else:
                        piecewise = not await self._send_directly(send, end - offset)
                    offset = self._file.tell()
                    sent, at = sent + offset - at, offset
                    if not piecewise:
                        # It was all, or there is nobody to send more to.
                        break
                if offset < end:
                    return
            await _send(send, b"", more=False)
        except TimeoutError:
            _log.info("blob.client_stalled", sent=sent)
            raise
        finally:
            gone.cancel()
            # What a transfer that was cut did send, it read from the file.
            self._served(sent + max(self._file.tell() - at, 0))
            self._file.close()

    async def _send_piece(self, send: Send, count: int) -> None:
        chunk = await asyncio.to_thread(os.read, self._file.fileno(), count)
        if not chunk:
            raise OSError("a stored blob is cut short")
        await _send(send, chunk)

    async def _send_directly(self, send: Send, count: int) -> bool:
        """From file to socket without passing through here; whether the two can do that."""
        try:
            await send(
                {"type": ZERO_COPY, "file": self._file.fileno(), "count": count, "more_body": True}
            )
        except OSError as error:
            if error.errno in CANNOT:
                return False
            raise
        return True


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


def _load(services: EndpointServices, blob: StoredBlob) -> bytes:
    """A small blob's content, checked, and kept. Raises `BlobDamaged`."""
    with _open(services.registry, blob) as file:
        content = file.readall()
    if not blob.digest.matches(content):
        services.registry.suspect(blob.digest)
        raise BlobDamaged(detail={"digest": blob.digest})
    services.memory.keep(blob.digest, content)
    return content


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
