"""Reading a blob as a stream, from its start or from where an earlier try ended.

A blob's address is its digest, so bytes from several tries and several hosts belong together; the
reader of the stream checks the digest of the whole. Lengths and positions are checked here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from connected_registry.errors import ParentFailed, ParentLied, ParentOffline
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.answer import name_request, translated
from connected_registry.parent.auth import Access
from connected_registry.parent.session import Ask, ParentSession

UNSATISFIABLE: Final = 416
MOST_VALIDATORS: Final = 1024

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,512}"')


@dataclass(frozen=True, slots=True)
class BlobStream:
    """``chunks`` start at ``offset``, which is what was asked for or 0; ``size`` is the whole's."""

    offset: int
    size: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _Part:
    """What an answer promises: ``length`` bytes from ``offset`` of ``size``, where it says so."""

    offset: int
    length: int | None
    size: int | None


class BlobReader:
    """Blobs by way of one session. Another source of blobs is another session's reader."""

    def __init__(self, session: ParentSession) -> None:
        self._session = session
        self._validators: dict[Digest, str] = {}

    @asynccontextmanager
    async def open(
        self, repository: RepositoryName, digest: Digest, offset: int, size: int | None
    ) -> AsyncGenerator[BlobStream, None]:
        """The blob from ``offset`` on, or from 0 where the server would have it so.

        ``size`` is what a descriptor promised. Raises a `ParentError` on entering; the chunks
        raise `ParentOffline` for an end too early and `ParentLied` for a wrong length.
        """
        if size is not None and offset >= size:
            offset = 0
        response = await self._request(repository, digest, offset)
        if response.status_code == UNSATISFIABLE:
            await response.aclose()
            response = await self._request(repository, digest, 0)
            offset = 0
        try:
            part = _promised(response, offset, size)
            self._remember(digest, response)
            chunks = _chunks(response, part)
            try:
                yield BlobStream(part.offset, part.size, chunks)
            finally:
                await chunks.aclose()
        finally:
            await response.aclose()

    async def _request(
        self, repository: RepositoryName, digest: Digest, offset: int
    ) -> httpx.Response:
        headers = {"Accept": "*/*"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if digest in self._validators:
                headers["If-Range"] = self._validators[digest]
        ask = Ask(
            "GET",
            f"v2/{repository}/blobs/{digest}",
            Access("pull", repository),
            headers=headers,
        )
        passing = {UNSATISFIABLE} if offset else ()
        return await self._session.open(ask, passing=passing)

    def _remember(self, digest: Digest, response: httpx.Response) -> None:
        """Keep a strong validator, for the same server to be asked with.

        Storage hosts have validators of their own, and a blob may come from another one the next
        time; sending the wrong one would bring the whole blob again for no reason. So only what
        the parent itself gave is kept: what matters in the end is the digest.
        """
        self._validators.pop(digest, None)
        etag = response.headers.get("etag", "")
        if self._session.address.is_own(response.url) and _STRONG.fullmatch(etag):
            if len(self._validators) >= MOST_VALIDATORS:
                self._validators.clear()
            self._validators[digest] = etag


def _promised(response: httpx.Response, offset: int, size: int | None) -> _Part:
    """Check what the answer says of itself against what was asked for."""
    asked = name_request("GET", response.url)
    length = _length(response)
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        if found is None:
            raise ParentFailed(f"{asked}: a part was sent without saying which")
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if first != offset or last < first or (total is not None and last >= total):
            raise ParentLied(f"{asked}: bytes from {offset} were asked for, {found[0]!r} came")
        if length is not None and length != last - first + 1:
            raise ParentLied(f"{asked}: {length} bytes do not make {found[0]!r}")
        part = _Part(first, last - first + 1, total if total is not None else size)
    elif response.status_code == 200:
        part = _Part(0, length, length if length is not None else size)
    else:
        raise ParentFailed(f"{asked} was answered with {response.status_code}")
    if size is not None and part.size != size:
        raise ParentLied(f"{asked}: the blob should have {size} bytes and has {part.size}")
    return part


def _length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


async def _chunks(response: httpx.Response, part: _Part) -> AsyncGenerator[bytes, None]:
    """The body, exactly as long as promised, in the pieces in which it arrives."""
    asked = name_request("GET", response.url)
    rest = None if part.size is None else part.size - part.offset
    received = 0
    with translated(asked):
        async for chunk in response.aiter_raw():
            received += len(chunk)
            if rest is not None and received > rest:
                raise ParentLied(f"{asked}: more came than the {rest} bytes promised")
            yield chunk
    if rest is not None and received < rest:
        sentence = f"{asked}: the answer ended after {received} of {rest} bytes"
        if part.length is None and "transfer-encoding" in response.headers:
            raise ParentLied(sentence)
        raise ParentOffline(sentence)
