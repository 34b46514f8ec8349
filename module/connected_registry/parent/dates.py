"""When images were made, for rules that keep the newest and parents that do not say it in lists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from connected_registry.errors import BlobUnknown
from connected_registry.oci.descriptor import Descriptor
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Kind, Manifest
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.documents import Documents
from connected_registry.parent.together import together

if TYPE_CHECKING:
    from connected_registry.parent.paced import PacedClient
    from connected_registry.storage.blobs import BlobStore
    from connected_registry.storage.ledger import Ledger

MAX_CONFIG: Final = 4 * 1024 * 1024
"""A config larger than this is not read for its date."""


class Dates:
    """Dates of images by digest. What was found once is remembered in the ledger."""

    def __init__(
        self, client: PacedClient, documents: Documents, blobs: BlobStore, ledger: Ledger
    ) -> None:
        self._client = client
        self._documents = documents
        self._blobs = blobs
        self._ledger = ledger

    async def of(
        self, repository: RepositoryName, digests: Mapping[Digest, str | None]
    ) -> dict[Digest, datetime | None]:
        """The date of each image, None where it has none; media types where known.

        Raises a `ParentError` when it cannot be told for one of them: a choice of the newest
        among dates that are partly unknown could take good images away.
        """
        key = f"created/{repository}"
        known = await asyncio.to_thread(self._ledger.get, key) or {}
        asked = [digest for digest in digests if digest not in known]
        found = await together(
            (self._find(repository, digest, digests[digest]) for digest in asked), limit=8
        )
        dates = {digest: _moment(known.get(digest)) for digest in digests if digest in known}
        dates.update(zip(asked, found, strict=True))
        if asked or known.keys() - digests.keys():
            kept = {digest: moment and moment.isoformat() for digest, moment in dates.items()}
            await asyncio.to_thread(self._ledger.put, key, kept)
        return dates

    async def _find(
        self, repository: RepositoryName, digest: Digest, media_type: str | None
    ) -> datetime | None:
        manifest = await self._documents.get(repository, digest, media_type)
        if manifest.created is not None:
            return manifest.created
        if manifest.kind is Kind.INDEX:
            child = _first_image(manifest)
            return await self._find(repository, child.digest, child.media_type) if child else None
        if manifest.config is None or manifest.config.size > MAX_CONFIG:
            return None
        return _created(await self._config(repository, manifest.config))

    async def _config(self, repository: RepositoryName, config: Descriptor) -> bytes:
        try:
            return await asyncio.to_thread(self._blobs.read, config.digest)
        except BlobUnknown:
            pass
        content = await self._client.get_blob(repository, config.digest, config.size)
        # Kept, so that the sync need not fetch it again.
        await asyncio.to_thread(self._blobs.put, content, config.digest.algorithm)
        return content


def _first_image(index: Manifest) -> Descriptor | None:
    images = (child for child in index.children if child.attestation_for is None)
    return next(images, None)


def _created(config: bytes) -> datetime | None:
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        return None
    return _moment(document.get("created")) if isinstance(document, dict) else None


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
