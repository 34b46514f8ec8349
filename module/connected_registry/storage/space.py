"""How much room is left, and what that allows: the ladder from plenty to nothing.

``room`` -> ``low``: the sync fetches one image at a time -> ``short``: what is not pulled may go,
if that is wanted, and images that do not fit are not begun -> ``full``: pushes are refused. Pulls
and deletions go on in every case. Looked at anew each time, so it recovers by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from typing import Final

from connected_registry.errors import InsufficientStorage
from connected_registry.policy.storage import GIBIBYTE, StoragePolicy
from connected_registry.storage.content import Statistics

LOW: Final = 0.1
LOW_AT_MOST: Final = 10 * GIBIBYTE
"""Part of the whole below which room is low, and the bytes that are never low."""

PUSHES: Final = 0.02
PUSHES_AT_MOST: Final = 2 * GIBIBYTE
"""Part of the whole that a sync leaves to pushes, where there may be any."""

FRESH: Final = 1.0
"""Seconds for which one look is good."""


class Step(StrEnum):
    """What the room left allows."""

    ROOM = "room"
    LOW = "low"
    SHORT = "short"
    FULL = "full"


_MEANING: Final = {
    Step.ROOM: "there is room",
    Step.LOW: "images are fetched one at a time",
    Step.SHORT: "images that do not fit are not fetched",
    Step.FULL: "nothing is fetched and pushes are refused; pulls go on",
}


@dataclass(frozen=True, slots=True)
class Room:
    """One look. All in bytes; ``quota`` is None where only the disk is the limit."""

    used: int
    free: int
    reserve: int
    quota: int | None
    for_pushes: bool = False
    """Whether clients may push."""

    @property
    def left(self) -> int:
        """What may still be stored; below nothing where the limits are overrun."""
        of_disk = self.free - self.reserve
        return of_disk if self.quota is None else min(of_disk, self.quota - self.used)

    @property
    def whole(self) -> int:
        """What may be stored altogether."""
        return max(self.used + self.left, 1)

    @property
    def for_sync(self) -> int:
        """What a sync may fetch."""
        spared = min(int(self.whole * PUSHES), PUSHES_AT_MOST) if self.for_pushes else 0
        return self.left - spared

    @property
    def step(self) -> Step:
        """Where this is on the ladder."""
        if self.left <= 0:
            return Step.FULL
        if self.for_sync <= 0:
            return Step.SHORT
        return Step.LOW if self.left < self._low else Step.ROOM

    @property
    def wanted(self) -> int:
        """What would have to go for room not to be low."""
        return max(0, self._low - self.left)

    @property
    def _low(self) -> int:
        return min(ceil(self.whole * LOW), LOW_AT_MOST)

    def describe(self) -> str:
        """Numbers and what follows from them, in one sentence."""
        limit = f"{self.used} of {self.quota} bytes are used" if self.quota is not None else ""
        disk = f"{self.free} bytes of the disk are free, {self.reserve} of them in reserve"
        return f"{'; '.join(filter(None, (limit, disk)))}: {_MEANING[self.step]}"


class Space:
    """Looks at most once a second, however often it is asked."""

    def __init__(
        self,
        statistics: Callable[[], Statistics],
        policy: Callable[[], StoragePolicy],
        for_pushes: Callable[[], bool],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._statistics = statistics
        self._policy = policy
        self._for_pushes = for_pushes
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: Statistics | None = None
        self._seen_at = 0.0

    def look(self, *, anew: bool = False) -> Room:
        """The room there is. Reads the database and the file system: call it in a thread."""
        with self._lock:
            now = self._monotonic()
            if anew or self._seen is None or not 0 <= now - self._seen_at < FRESH:
                self._seen, self._seen_at = self._statistics(), now
            seen = self._seen
        policy = self._policy()
        return Room(
            seen.bytes,
            seen.free_bytes,
            policy.reserve_bytes,
            policy.quota_bytes,
            self._for_pushes(),
        )

    def admit_push(self, size: int = 0, staged: int = 0) -> None:
        """Raise `InsufficientStorage` unless ``size`` more bytes may be pushed.

        ``staged`` are those of the same push that are on the disk and not yet counted as used.
        """
        room = self.look()
        room = replace(room, used=room.used + staged)
        if room.left <= max(size, 0):
            raise InsufficientStorage(
                f"no room for this push: {max(room.left, 0)} bytes are left to be used here; "
                "delete images or raise the limit",
                detail={"left": max(room.left, 0), "needed": size},
            )
