"""Manifests, fetched once: by the plan, for the sync that follows and for every later one.

A manifest asked for is taken from the blob store where it is there, visible or not. Otherwise it
is fetched by digest and kept there; nothing shows it to a client before an image is committed.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from connected_registry.errors import BlobUnknown, ParentLied, RegistryError
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest
from connected_registry.oci.media_type import ARTIFACTS, MANIFESTS, SCHEMA1, parse_media_type
from connected_registry.oci.reference import RepositoryName, Tag

if TYPE_CHECKING:
    from connected_registry.parent.paced import PacedClient
    from connected_registry.storage.blobs import BlobStore
    from connected_registry.storage.ledger import Ledger

_TELLING = {*MANIFESTS, *ARTIFACTS, *SCHEMA1}


class Documents:
    """The manifests of one parent. One instance may serve many tasks."""

    def __init__(self, client: PacedClient, blobs: BlobStore, ledger: Ledger) -> None:
        self._client = client
        self._blobs = blobs
        self._ledger = ledger
        self._flights: dict[Digest, asyncio.Future[None]] = {}
        self.fetched = 0
        """How many came over the link."""

    async def get(
        self, repository: RepositoryName, digest: Digest, media_type: str | None = None
    ) -> Manifest:
        """The manifest; ``media_type`` is what a descriptor or the parent's HEAD said of it.

        Raises a `ParentError` when the parent does not give it, `ParentLied` when it gives
        another, `ManifestInvalid` when it is none.
        """
        while True:
            manifest = await asyncio.to_thread(self._kept, digest, media_type)
            if manifest is not None:
                return manifest
            flight = self._flights.get(digest)
            if flight is None:
                break
            # Another task fetches it, maybe from another repository: look again afterwards.
            await asyncio.wait([flight])
        self._flights[digest] = flight = asyncio.get_running_loop().create_future()
        try:
            fetched = await self._client.get_manifest(repository, digest, digest)
            self.fetched += 1
            media_type = media_type or fetched.media_type
            return await asyncio.to_thread(self._keep, fetched.content, media_type, digest)
        finally:
            del self._flights[digest]
            flight.set_result(None)

    async def resolve(self, repository: RepositoryName, reference: Tag) -> Manifest:
        """Fetch by tag, for a parent that does not tell the digest of a tag otherwise."""
        fetched = await self._client.get_manifest(repository, reference, None)
        self.fetched += 1
        digest = Digest.of(fetched.content)
        return await asyncio.to_thread(self._keep, fetched.content, fetched.media_type, digest)

    async def keep_embedded(self, manifest: Manifest) -> None:
        """Keep the blobs whose content is in the manifest itself."""
        for descriptor in manifest.embedded:
            if descriptor.data is not None:
                await asyncio.to_thread(
                    self._blobs.put, descriptor.data, descriptor.digest.algorithm
                )

    def _keep(self, content: bytes, media_type: str, digest: Digest) -> Manifest:
        if not digest.matches(content):
            raise ParentLied(f"the parent gave other bytes for manifest {digest}")
        manifest = _parse(content, media_type, digest)
        self._blobs.put(content, digest.algorithm)
        if _own_media_type(content) is None:
            # The bytes do not say what they are: without this note a later run could not know.
            self._ledger.put(_key(digest), manifest.media_type)
        return manifest

    def _kept(self, digest: Digest, media_type: str | None) -> Manifest | None:
        try:
            content = self._blobs.read(digest)
        except BlobUnknown:
            return None
        if not digest.matches(content):
            return None
        noted = self._ledger.get(_key(digest)) if _own_media_type(content) is None else None
        try:
            return _parse(content, str(noted or media_type or ""), digest)
        except RegistryError:
            return None


def _parse(content: bytes, media_type: str, digest: Digest) -> Manifest:
    """Parse under the name it is asked for by, which may be a sha512 digest.

    A Content-Type that is no manifest's, as some proxies send, gives way to the document's own.
    """
    if _own_media_type(content) is not None and parse_media_type(media_type) not in _TELLING:
        media_type = ""
    return replace(Manifest.parse(content, media_type), digest=digest)


def _key(digest: Digest) -> str:
    return f"media-type/{digest}"


def _own_media_type(content: bytes) -> str | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    media_type = document.get("mediaType") if isinstance(document, dict) else None
    return media_type if isinstance(media_type, str) and media_type else None
