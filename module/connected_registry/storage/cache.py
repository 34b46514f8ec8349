"""Manifests in memory, for answers without a disk.

Exact: whoever commits a change calls `drop` before it returns, and what was read before a change
cannot be put in after it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import StoredBlob, StoredManifest

_OVERHEAD: Final = 1024
"""What an entry costs beside its content, roughly, in bytes."""

_NAMES: Final = 100_000
"""Most tags and most blobs remembered."""


class Cache:
    """The most recently used manifests up to ``capacity`` bytes, and where blobs are."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._changes = 0
        self._used = 0
        self._manifests: OrderedDict[tuple[str, Digest], StoredManifest] = OrderedDict()
        self._tags: OrderedDict[tuple[str, str], Digest] = OrderedDict()
        self._blobs: OrderedDict[tuple[str, Digest], StoredBlob] = OrderedDict()

    def manifest(
        self, repository: RepositoryName, reference: Tag | Digest
    ) -> StoredManifest | None:
        """What the reference names, if it is known here."""
        with self._lock:
            digest = (
                reference
                if isinstance(reference, Digest)
                else self._tags.get((repository, reference))
            )
            if digest is None:
                return None
            found = self._manifests.get((repository, digest))
            if found is not None:
                self._manifests.move_to_end((repository, digest))
            return found

    def blob(self, repository: RepositoryName, digest: Digest) -> StoredBlob | None:
        """Where the blob is, if it is known that the repository shows it."""
        with self._lock:
            return self._blobs.get((repository, digest))

    def changes(self) -> int:
        """A number to take before reading the database and to give back with what was read."""
        with self._lock:
            return self._changes

    def keep_manifest(
        self, changes: int, reference: Tag | Digest, manifest: StoredManifest
    ) -> None:
        """Remember, unless something has changed since `changes` was asked."""
        key = (manifest.repository, manifest.digest)
        with self._lock:
            if changes != self._changes or manifest.size + _OVERHEAD > self._capacity:
                return
            if key not in self._manifests:
                self._used += manifest.size + _OVERHEAD
            self._manifests[key] = manifest
            self._manifests.move_to_end(key)
            while self._used > self._capacity:
                _, oldest = self._manifests.popitem(last=False)
                self._used -= oldest.size + _OVERHEAD
            if not isinstance(reference, Digest):
                self._tags[(manifest.repository, reference)] = manifest.digest
                if len(self._tags) > _NAMES:
                    self._tags.popitem(last=False)

    def keep_blob(self, changes: int, repository: RepositoryName, blob: StoredBlob) -> None:
        """Remember, unless something has changed since `changes` was asked."""
        with self._lock:
            if changes == self._changes:
                self._blobs[(repository, blob.digest)] = blob
                if len(self._blobs) > _NAMES:
                    self._blobs.popitem(last=False)

    def drop(
        self,
        repository: RepositoryName,
        *,
        tags: Iterable[str] = (),
        digests: Iterable[Digest] = (),
    ) -> None:
        """Forget what was just changed in ``repository``."""
        with self._lock:
            self._changes += 1
            for tag in tags:
                self._tags.pop((repository, tag), None)
            for digest in digests:
                self._blobs.pop((repository, digest), None)
                gone = self._manifests.pop((repository, digest), None)
                if gone is not None:
                    self._used -= gone.size + _OVERHEAD

    def clear(self) -> None:
        """Forget everything: files were removed or found damaged."""
        with self._lock:
            self._changes += 1
            self._used = 0
            self._manifests.clear()
            self._tags.clear()
            self._blobs.clear()
