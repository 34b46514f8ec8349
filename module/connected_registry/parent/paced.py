"""The parent as plans ask it: so many questions at a time, whatever asks them.

On a thin link a hundred answers at once would all be too late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from connected_registry.oci.descriptor import Descriptor
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag

if TYPE_CHECKING:
    from connected_registry.parent.client import (
        Fetched,
        ParentClient,
        RemoteManifest,
        TagListing,
    )

AT_ONCE: Final = 8


class PacedClient:
    """The questions of `ParentClient` that plans consist of."""

    def __init__(self, client: ParentClient) -> None:
        self._client = client
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ping(self) -> None:
        """As `ParentClient.ping`."""
        async with self._places:
            await self._client.ping()

    async def list_repositories(self) -> list[RepositoryName]:
        """As `ParentClient.list_repositories`."""
        async with self._places:
            return await self._client.list_repositories()

    async def list_tags(self, repository: RepositoryName) -> TagListing:
        """As `ParentClient.list_tags`."""
        async with self._places:
            return await self._client.list_tags(repository)

    async def list_referrers(
        self, repository: RepositoryName, digest: Digest
    ) -> list[Descriptor] | None:
        """As `ParentClient.list_referrers`."""
        async with self._places:
            return await self._client.list_referrers(repository, digest)

    async def head_manifest(self, repository: RepositoryName, reference: Tag) -> RemoteManifest:
        """As `ParentClient.head_manifest`."""
        async with self._places:
            return await self._client.head_manifest(repository, reference)

    async def get_manifest(
        self, repository: RepositoryName, reference: Tag | Digest, expected: Digest | None = None
    ) -> Fetched:
        """As `ParentClient.get_manifest`."""
        async with self._places:
            return await self._client.get_manifest(repository, reference, expected)

    async def get_blob(self, repository: RepositoryName, digest: Digest, size: int) -> bytes:
        """As `ParentClient.get_blob`."""
        async with self._places:
            return await self._client.get_blob(repository, digest, size)
