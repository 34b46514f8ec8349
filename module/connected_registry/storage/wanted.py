"""What the sync has fetched, or will, for images that are not here yet.

Blobs of an image that takes days to fetch lie in the folder with no row that knows them. They are
found from the documents the plan has kept, by whatever those name.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

from connected_registry.errors import BlobUnknown, DigestInvalid, StorageError
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import MAX_MANIFEST
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.ledger import Ledger

_SHORT: Final = 16
"""Bytes kept of each digest; two that begin alike are both kept, which does no harm."""

_KEYS: Final = ("config", "subject")
_LISTS: Final = ("manifests", "layers", "blobs", "fsLayers")


class Wanted:
    """The digests that images still to come are made of. ``pending``: there are such images."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._seen: set[bytes] = set()
        images = ledger.images(states=("pending", "failed", "held back"))
        roots = {image.wanted for image in images if image.wanted is not None}
        self.pending = bool(roots)
        waiting = deque(roots)
        while waiting:
            digest = waiting.popleft()
            if self._add(digest):
                waiting.extend(self._follow(digest))

    def __contains__(self, digest: Digest) -> bool:
        return _short(digest) in self._seen

    def _add(self, digest: Digest) -> bool:
        short = _short(digest)
        if short in self._seen:
            return False
        self._seen.add(short)
        return True

    def _follow(self, digest: Digest) -> list[Digest]:
        """Note what a document names, and return the documents among that."""
        documents = []
        for key, named in _descriptors(self._document(digest)):
            if key == "manifests":
                documents.append(named)
            else:
                self._add(named)
        return documents

    def _document(self, digest: Digest) -> Any:
        size = self._blobs.size(digest)
        if size is None or size > MAX_MANIFEST:
            return None
        try:
            return json.loads(self._blobs.read(digest))
        except (ValueError, RecursionError, BlobUnknown, StorageError):
            return None


def _short(digest: Digest) -> bytes:
    return bytes.fromhex(digest.encoded[: 2 * _SHORT])


def _descriptors(document: Any) -> list[tuple[str, Digest]]:
    if not isinstance(document, dict):
        return []
    named = [(key, document.get(key)) for key in _KEYS]
    for key in _LISTS:
        entries = document.get(key)
        if isinstance(entries, list):
            named += [(key, entry) for entry in entries]
    found = []
    for key, entry in named:
        text = (entry.get("digest") or entry.get("blobSum")) if isinstance(entry, dict) else None
        if isinstance(text, str):
            try:
                found.append((key, Digest.parse(text)))
            except DigestInvalid:
                continue
    return found
