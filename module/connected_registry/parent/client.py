"""The parent registry, as far as a replica needs it: any registry of the OCI specification.

Every failure is a `ParentError`. Bytes that are returned whole have been checked against their
digest; streams are checked by who reads them to the end.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Self

import httpx

from connected_registry.errors import DigestInvalid, ParentFailed, ParentLied
from connected_registry.oci.descriptor import Descriptor
from connected_registry.oci.digest import Digest
from connected_registry.oci.media_type import MANIFESTS
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.address import ParentAddress
from connected_registry.parent.answer import Answer
from connected_registry.parent.auth import Access
from connected_registry.parent.blob import BlobReader, BlobStream
from connected_registry.parent.credentials import Credentials
from connected_registry.parent.limits import Limits
from connected_registry.parent.listing import ListedTag, Listings, TagListing
from connected_registry.parent.session import Ask, ParentSession

__all__ = [
    "BlobStream",
    "Credentials",
    "Fetched",
    "Limits",
    "ListedTag",
    "ParentAddress",
    "ParentClient",
    "RemoteManifest",
    "TagListing",
]

ACCEPT: Final = ", ".join([*MANIFESTS, "*/*"])


@dataclass(frozen=True, slots=True)
class RemoteManifest:
    """What the parent says of a manifest without sending it."""

    digest: Digest | None
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest's bytes as the parent sent them. ``media_type`` is empty where it gave none."""

    content: bytes
    media_type: str
    digest: Digest


class ParentClient:
    """An async context manager that holds the connections to one registry.

    Requests may run at the same time. ``transport`` takes the place of the network.
    """

    def __init__(
        self,
        address: ParentAddress,
        credentials: Credentials | None = None,
        *,
        user_agent: str,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = address
        self._session = ParentSession(
            address,
            credentials,
            user_agent=user_agent,
            limits=limits or Limits(),
            transport=transport,
        )
        self.session = self._session
        """How requests are sent: for `upload.ParentUploads`, which writes."""
        self._listings = Listings(self._session)
        self._blobs = BlobReader(self._session)

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.__aexit__(*exc)

    @property
    def bytes_received(self) -> int:
        """Bytes of answer bodies, everything included, since the start."""
        return self._session.tally.bytes_received

    @property
    def bytes_sent(self) -> int:
        """Bytes of request bodies since the start: what pushes cost."""
        return self._session.bytes_sent

    @property
    def requests_sent(self) -> int:
        """Requests, those for tokens and to storage hosts included, since the start."""
        return self._session.tally.requests

    async def ping(self) -> None:
        """Check that a registry is there and lets us in."""
        await self._session.read(Ask("GET", "v2/", Access("ping")))

    async def list_repositories(self) -> list[RepositoryName]:
        """Every repository the parent lists to us; many registries refuse this."""
        return await self._listings.repositories()

    async def list_tags(self, repository: RepositoryName) -> TagListing:
        """Every tag, with digests and times where the parent tells them."""
        return await self._listings.tags(repository)

    async def list_referrers(
        self, repository: RepositoryName, digest: Digest
    ) -> list[Descriptor] | None:
        """What refers to ``digest``; None where the parent has no referrers API."""
        return await self._listings.referrers(repository, digest)

    async def head_manifest(
        self, repository: RepositoryName, reference: Tag | Digest
    ) -> RemoteManifest:
        """What a tag names now, without the bytes. Raises `ParentNotFound` if nothing."""
        answer = await self._session.read(self._manifest("HEAD", repository, reference))
        digest = _named_digest(answer)
        if isinstance(reference, Digest) and digest not in {None, reference}:
            assert digest is not None
            if digest.algorithm == reference.algorithm:
                raise ParentLied(f"{answer.asked} was answered with another digest, {digest}")
        length = answer.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
        return RemoteManifest(digest, answer.media_type, size)

    async def get_manifest(
        self,
        repository: RepositoryName,
        reference: Tag | Digest,
        expected: Digest | None = None,
    ) -> Fetched:
        """A manifest's bytes, checked against ``expected``, a digest asked for, or the header's.

        Raises `ParentLied` where they do not match, `ParentFailed` over 4 MiB.
        """
        answer = await self._session.read(self._manifest("GET", repository, reference))
        if expected is None:
            expected = reference if isinstance(reference, Digest) else _named_digest(answer)
        if expected is None:
            expected = Digest.of(answer.content)
        elif not expected.matches(answer.content):
            raise ParentLied(
                f"{answer.asked}: the {len(answer.content)} bytes that came are not {expected}"
            )
        return Fetched(answer.content, answer.media_type, expected)

    async def get_blob(self, repository: RepositoryName, digest: Digest, size: int) -> bytes:
        """A small blob, such as a config, whole and checked; at most 4 MiB."""
        limit = self._session.limits.manifest_body
        if size > limit:
            raise ParentFailed(f"{digest} has {size} bytes, more than the {limit} read at once")
        async with self._blobs.open(repository, digest, 0, size) as stream:
            content = b"".join([chunk async for chunk in stream.chunks])
        if not digest.matches(content):
            raise ParentLied(f"{self.address.host}: the bytes of blob {digest} are others")
        return content

    def blob(
        self,
        repository: RepositoryName,
        digest: Digest,
        offset: int = 0,
        *,
        size: int | None = None,
    ) -> AbstractAsyncContextManager[BlobStream]:
        """A blob as a stream, from ``offset`` on where the server can, else from 0.

        ``size`` is the whole's, from its descriptor, and is then held against the answer. Entering
        raises after retries; the chunks are not retried: come again with a new offset.
        """
        return self._blobs.open(repository, digest, offset, size)

    def _manifest(self, method: str, repository: RepositoryName, reference: Tag | Digest) -> Ask:
        return Ask(
            method,
            f"v2/{repository}/manifests/{reference}",
            Access("pull", repository),
            headers={"Accept": ACCEPT},
            body_limit=self._session.limits.manifest_body,
        )


def _named_digest(answer: Answer) -> Digest | None:
    try:
        return Digest.parse(answer.headers.get("docker-content-digest", ""))
    except DigestInvalid:
        return None
