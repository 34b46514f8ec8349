"""Small blobs in memory.

Only bytes that were checked against their digest come in, so nothing here can ever be wrong;
whether a repository shows a blob is not asked here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from connected_registry.oci.digest import Digest

SMALL: Final = 128 * 1024
"""Largest blob kept, in bytes: configs, signatures and the small layers of most images."""

_CAPACITY: Final = 16 * 1024 * 1024
_OVERHEAD: Final = 512
"""What an entry costs beside its content, roughly, in bytes."""


class BlobMemory:
    """The most recently used small blobs, up to ``capacity`` bytes."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._used = 0
        self._contents: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        """The content, if it is here."""
        with self._lock:
            content = self._contents.get(digest)
            if content is not None:
                self._contents.move_to_end(digest)
            return content

    def keep(self, digest: Digest, content: bytes) -> None:
        """Remember content that was checked against its digest."""
        with self._lock:
            if digest in self._contents or len(content) > SMALL:
                return
            self._contents[digest] = content
            self._used += len(content) + _OVERHEAD
            while self._used > self._capacity:
                _, oldest = self._contents.popitem(last=False)
                self._used -= len(oldest) + _OVERHEAD
