"""What somebody is about to rely on, though nothing in the database says so yet.

A push asks whether a blob is here and then leaves it out; a sync that finds a file does not fetch
it; both make it visible only later. Whoever looks notes the digest first, and what was noted is
not removed for a while. Measured by the clock that cannot jump.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from connected_registry.oci.digest import Digest

KEPT: Final = timedelta(hours=1)
"""How long a note holds at least; at most twice as long."""

_MOST: Final = 250_000
"""Digests remembered of one period; with more, everything counts as noted."""


class Attention:
    """Notes of two periods: the one at hand and the one before."""

    def __init__(
        self, kept: timedelta = KEPT, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept = kept.total_seconds()
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._begun = monotonic()
        self._now: set[Digest] = set()
        self._before: set[Digest] = set()
        self._crowded = [False, False]

    def note(self, digest: Digest) -> None:
        """Keep what is there now, and what will be; to be called before looking."""
        with self._lock:
            self._turn()
            if len(self._now) < _MOST:
                self._now.add(digest)
            else:
                self._crowded[0] = True

    def noted(self, digest: Digest) -> bool:
        """Whether somebody looked at it lately."""
        with self._lock:
            return self._noted(digest)

    def unless_noted(self, digest: Digest, remove: Callable[[Digest], None]) -> bool:
        """Call ``remove`` unless somebody looked lately; nobody can begin to meanwhile."""
        with self._lock:
            if self._noted(digest):
                return False
            remove(digest)
            return True

    def _noted(self, digest: Digest) -> bool:
        self._turn()
        return any(self._crowded) or digest in self._now or digest in self._before

    def _turn(self) -> None:
        now = self._monotonic()
        passed = now - self._begun
        if passed < self._kept:
            return
        recent = passed < 2 * self._kept
        self._before = self._now if recent else set()
        self._crowded = [False, self._crowded[0] and recent]
        self._now = set()
        self._begun = now
