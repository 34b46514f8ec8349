"""Fetch again what the disk has lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from connected_registry.errors import (
    DigestInvalid,
    ParentError,
    ParentLied,
    ParentOffline,
    RegistryError,
    SizeInvalid,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName

if TYPE_CHECKING:
    from connected_registry.parent.client import ParentClient
    from connected_registry.storage.blobs import BlobStore

TRIES: Final = 3


class Restorer:
    """Brings content back from one parent."""

    def __init__(self, client: ParentClient, blobs: BlobStore) -> None:
        self._client = client
        self._blobs = blobs

    async def restore(
        self, digest: Digest, size: int, repositories: Sequence[RepositoryName], *, manifest: bool
    ) -> None:
        """Fetch it by digest from the first of ``repositories`` that gives it.

        Raises the last repository's `ParentError`; `ParentOffline` at once; `StorageError`.
        """
        error: ParentError = ParentLied(f"no repository of the parent was asked for {digest}")
        for repository in repositories:
            try:
                if manifest:
                    fetched = await self._client.get_manifest(repository, digest, digest)
                    await asyncio.to_thread(self._blobs.put, fetched.content, digest.algorithm)
                else:
                    await self._blob(repository, digest, size)
                return
            except ParentOffline:
                raise
            except ParentError as failure:
                error = failure
        raise error

    async def _blob(self, repository: RepositoryName, digest: Digest, size: int) -> None:
        for last in (False,) * (TRIES - 1) + (True,):
            try:
                with await asyncio.to_thread(self._blobs.partial, digest, size) as partial:
                    async with self._client.blob(
                        repository, digest, partial.offset, size=size
                    ) as stream:
                        skip = partial.offset - stream.offset
                        async for chunk in stream.chunks:
                            fresh = chunk[skip:]
                            skip -= len(chunk) - len(fresh)
                            if fresh:
                                await asyncio.to_thread(partial.write, fresh)
                    await asyncio.to_thread(partial.finish)
                    return
            except (DigestInvalid, SizeInvalid) as error:
                if last:
                    raise ParentLied(f"{repository}: {error}") from error
            except RegistryError as error:
                raise ParentLied(f"{repository}: {error}") from error
            except ParentError:
                if last:
                    raise
