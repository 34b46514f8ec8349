"""Writing to the parent: blobs in resumable pieces, manifests, and taking both away again.

OCI distribution specification, "Pushing content" and "Content Management". Every failure is a
`ParentError`; nothing that may have had an effect is repeated without asking first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote

from connected_registry.errors import (
    DigestInvalid,
    ParentError,
    ParentFailed,
    ParentLied,
    ParentNotFound,
    ParentReadOnly,
    ParentUnauthorized,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest
from connected_registry.oci.media_type import MANIFESTS
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.answer import Answer
from connected_registry.parent.auth import Access
from connected_registry.parent.session import Ask, ParentSession

SMALLEST_PIECE: Final = 64 * 1024
FIRST_PIECE: Final = 1024 * 1024
LARGEST_PIECE: Final = 8 * 1024 * 1024
QUICK: Final = 2.0
SLOW: Final = 10.0
"""Seconds that a piece takes: below the first the next one is larger, above the second smaller."""

ACCEPT: Final = ", ".join([*MANIFESTS, "*/*"])
NOT_ALLOWED: Final = 405
READ_ONLY: Final = "not allowed on this registry"
"""How Microsoft's connected registry and this one say that they take no pushes."""

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)


class Sessions(Protocol):
    """Where unfinished uploads are remembered over restarts: addresses at the parent."""

    async def get(self, repository: RepositoryName, digest: Digest) -> str | None:
        """The address of an unfinished upload."""

    async def keep(self, repository: RepositoryName, digest: Digest, location: str | None) -> None:
        """Remember it; None forgets it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A blob to send. ``read`` gives ``count`` bytes from an offset on."""

    digest: Digest
    size: int
    read: Callable[[int, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Session:
    """An upload at the parent, and how much of the blob is there."""

    location: str
    offset: int


class _SessionLost(ParentFailed):
    """The parent does not know the upload any more, or not as we know it."""


class ParentUploads:
    """The write verbs of one parent.

    ``pace`` is awaited before so many bytes are sent and may raise to stop; ``most`` is the
    largest piece that may be sent at once, so that a rate limit is kept over short times too.
    """

    def __init__(
        self,
        session: ParentSession,
        sessions: Sessions,
        *,
        pace: Callable[[int], Awaitable[None]],
        most: Callable[[], int] = lambda: LARGEST_PIECE,
    ) -> None:
        self._session = session
        self._sessions = sessions
        self._pace = pace
        self._most = most
        self._piece = FIRST_PIECE

    async def has_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the parent shows the blob there."""
        return await self._has(f"v2/{repository}/blobs/{digest}", repository)

    async def has_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the parent shows the manifest there."""
        return await self._has(f"v2/{repository}/manifests/{digest}", repository)

    async def push_blob(
        self,
        repository: RepositoryName,
        source: Source,
        mounts: Collection[RepositoryName] = (),
    ) -> None:
        """Have the blob at the parent: mounted from one of ``mounts``, or sent.

        An upload that was cut goes on where it was, also in a later process.
        """
        session = await self._resumed(repository, source)
        if session is None:
            session = await self._begun(repository, source, mounts)
            if session is None:
                return
        try:
            await self._send(repository, source, session)
        except _SessionLost:
            await self._sessions.keep(repository, source.digest, None)
            if await self.has_blob(repository, source.digest):
                return
            session = await self._started(repository, f"v2/{repository}/blobs/uploads/")
            await self._send(repository, source, session)

    async def put_manifest(
        self, repository: RepositoryName, reference: Tag | Digest, manifest: Manifest
    ) -> bool:
        """Store a manifest under the reference; whether the parent took note of its subject."""
        ask = Ask(
            "PUT",
            f"v2/{repository}/manifests/{reference}",
            Access("push", repository),
            headers={"Content-Type": manifest.media_type},
            content=manifest.content,
        )
        await self._pace(len(manifest.content))
        answer = _allowed(await self._session.read(ask, passing={NOT_ALLOWED}))
        named = answer.headers.get("docker-content-digest")
        if named is not None and _parsed(named) not in (None, manifest.digest):
            raise ParentLied(f"{answer.asked}: the parent stored it as {named}")
        return "oci-subject" in answer.headers

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        """Delete it, and with it every tag that names it there. Gone already is fine."""
        await self._delete(repository, f"v2/{repository}/manifests/{digest}")

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        """Take a tag away and leave what it names.

        Raises `ParentFailed` where the parent has no way of doing so.
        """
        passing = {400, 404, NOT_ALLOWED}
        answers = []
        for path in (
            f"v2/{repository}/manifests/{tag}",
            f"acr/v1/{repository}/_tags/{quote(tag, safe='')}",
        ):
            ask = Ask("DELETE", path, Access("delete", repository))
            answer = await self._session.read(ask, passing=passing)
            if answer.status not in passing:
                return
            answers.append(answer)
        if READ_ONLY in answers[0].content.decode("utf-8", "replace").lower():
            _allowed(answers[0])
        raise ParentFailed(f"{answers[0].asked}: the parent cannot take a tag away by itself")

    async def _has(self, path: str, repository: RepositoryName) -> bool:
        ask = Ask("HEAD", path, Access("pull", repository), headers={"Accept": ACCEPT})
        return (await self._session.read(ask, passing={404})).status != 404

    async def _delete(self, repository: RepositoryName, path: str) -> None:
        ask = Ask("DELETE", path, Access("delete", repository))
        _allowed(await self._session.read(ask, passing={404, NOT_ALLOWED}))

    async def _resumed(self, repository: RepositoryName, source: Source) -> _Session | None:
        """The unfinished upload of an earlier try, if the parent still knows it."""
        location = await self._sessions.get(repository, source.digest)
        if location is None:
            return None
        try:
            return await self._status(repository, location)
        except (_SessionLost, ParentNotFound):
            await self._sessions.keep(repository, source.digest, None)
            return None

    async def _status(self, repository: RepositoryName, location: str) -> _Session:
        ask = Ask("GET", location, Access("push", repository))
        answer = await self._session.read(ask, passing={400, 404, 416})
        if answer.status >= 300:
            raise _SessionLost(f"{answer.asked}: the upload is not known any more")
        return _session(answer, location)

    async def _begun(
        self,
        repository: RepositoryName,
        source: Source,
        mounts: Collection[RepositoryName],
    ) -> _Session | None:
        """A new upload; None where mounting the blob made that needless."""
        start = f"v2/{repository}/blobs/uploads/"
        for other in mounts:
            query = f"?mount={quote(source.digest, safe=':')}&from={quote(other, safe='/')}"
            access = Access(f"mount from {other}", repository)
            try:
                answer = _allowed(
                    await self._session.read(
                        Ask("POST", start + query, access), passing={400, 404, NOT_ALLOWED}
                    )
                )
            except ParentUnauthorized:
                continue
            if answer.status == 201:
                return None
            if answer.status == 202:
                return _session(answer, None)
        return await self._started(repository, start)

    async def _started(self, repository: RepositoryName, start: str) -> _Session:
        ask = Ask("POST", start, Access("push", repository))
        return _session(_allowed(await self._session.read(ask, passing={NOT_ALLOWED})), None)

    async def _send(self, repository: RepositoryName, source: Source, session: _Session) -> None:
        """Send what is missing, and close the upload."""
        remembered = False
        last = b""
        while session.offset < source.size:
            count = min(self._piece, self._most(), source.size - session.offset)
            piece = await source.read(session.offset, count)
            await self._pace(len(piece))
            if not session.offset and count == source.size:
                last = piece
                break
            if not remembered:
                await self._sessions.keep(repository, source.digest, session.location)
                remembered = True
            session = await self._patch(repository, source, session, piece)
            await self._sessions.keep(repository, source.digest, session.location)
        await self._close(repository, source, session, last)
        if remembered or session.offset:
            await self._sessions.keep(repository, source.digest, None)

    async def _patch(
        self, repository: RepositoryName, source: Source, session: _Session, piece: bytes
    ) -> _Session:
        end = session.offset + len(piece)
        ask = Ask(
            "PATCH",
            session.location,
            Access("push", repository),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{session.offset}-{end - 1}",
            },
            content=piece,
        )
        begun = time.monotonic()
        try:
            answer = await self._session.once(ask, passing={400, 404, 416})
        except ParentError:
            self._piece = max(self._piece // 2, SMALLEST_PIECE)
            raise
        if answer.status in (400, 404):
            raise _SessionLost(f"{answer.asked}: {answer.code or answer.status}")
        if answer.status == 416:
            session = await self._status(repository, session.location)
            if session.offset > source.size:
                raise _SessionLost(f"{answer.asked}: it holds more than was sent")
            return session
        self._learn(time.monotonic() - begun)
        # What counts is where the parent says it is; some say nothing.
        return _session(answer, session.location, end)

    async def _close(
        self, repository: RepositoryName, source: Source, session: _Session, last: bytes
    ) -> None:
        joined = "&" if "?" in session.location else "?"
        ask = Ask(
            "PUT",
            f"{session.location}{joined}digest={quote(source.digest, safe=':')}",
            Access("push", repository),
            headers={"Content-Type": "application/octet-stream"},
            content=last,
        )
        answer = await self._session.once(ask, passing={400, 404, 416})
        if answer.status >= 300:
            raise _SessionLost(f"{answer.asked} was answered with {answer.status} {answer.code}")

    def _learn(self, seconds: float) -> None:
        if seconds < QUICK:
            self._piece = min(self._piece * 2, LARGEST_PIECE)
        elif seconds > SLOW:
            self._piece = max(self._piece // 2, SMALLEST_PIECE)


def _session(answer: Answer, before: str | None, offset: int = 0) -> _Session:
    """The upload as an answer tells it: where it goes on, and how much is there."""
    location = answer.headers.get("location", "") or before or ""
    if not location:
        raise ParentFailed(f"{answer.asked} was answered without saying where to send the blob")
    found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
    # "0-0" stands for nothing as well as for one byte; one byte sent twice is noticed at the end.
    last = int(found[1]) if found is not None else 0
    return _Session(str(answer.url.join(location)), last + 1 if last else offset)


def _allowed(answer: Answer) -> Answer:
    """The answer unless it is a 405."""
    if answer.status != NOT_ALLOWED:
        return answer
    text = answer.content.decode("utf-8", "replace")
    if READ_ONLY in text.lower():
        raise ParentReadOnly(
            f"{answer.asked}: the parent is ReadOnly and takes no pushes; make it ReadWrite, or"
            " this replica ReadOnly"
        )
    raise ParentFailed(f"{answer.asked} was answered with 405 ({answer.code}): not allowed there")


def _parsed(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except DigestInvalid:
        return None
