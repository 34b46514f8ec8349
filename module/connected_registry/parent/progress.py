"""How far a sync is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

WINDOW: Final = 15.0
"""Seconds over which the rate is taken."""

WORTH_MEASURING: Final = 64 * 1024
"""Bytes below which an average says nothing about the link."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a running sync. ``bytes_total`` is what was planned to come over the link."""

    phase: str
    """idle, planning, fetching or removing."""
    images_done: int = 0
    images_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: int = 0
    eta_seconds: int | None = None
    current: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The form of the twin's ``sync.progress``."""
        return {
            "phase": self.phase,
            "imagesDone": self.images_done,
            "imagesTotal": self.images_total,
            "bytesDone": self.bytes_done,
            "bytesTotal": self.bytes_total,
            "bytesPerSecond": self.bytes_per_second,
            "etaSeconds": self.eta_seconds,
            "current": self.current,
        }


IDLE: Final = Progress("idle")


class Tracker:
    """Counts while a sync runs. Cheap enough to be told of every chunk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._active: dict[str, None] = {}
        self._first: float | None = None
        self.phase = "planning"
        self.images_done = 0
        self.images_total = 0
        self.bytes_done = 0
        self.bytes_total = 0

    def received(self, count: int) -> None:
        """Note bytes that came over the link."""
        self.bytes_done += count
        now = self._clock()
        if self._first is None:
            self._first = now
        if now - self._samples[-1][0] >= 0.5:
            self._samples.append((now, self.bytes_done))
            while len(self._samples) > 2 and now - self._samples[1][0] > WINDOW:
                self._samples.popleft()

    def begin(self, image: str) -> None:
        """Note that work on an image has begun."""
        self._active[image] = None

    def end(self, image: str, *, done: bool) -> None:
        """Note that work on an image has ended; ``done`` when it became visible."""
        self._active.pop(image, None)
        if done:
            self.images_done += 1

    @property
    def rate(self) -> float:
        """Bytes a second over the last seconds."""
        then, before = self._samples[0]
        elapsed = self._clock() - then
        return (self.bytes_done - before) / elapsed if elapsed > 0 else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the sync began."""
        return self._clock() - self._began

    @property
    def average(self) -> float | None:
        """Bytes a second since the first byte; None while too few came to tell."""
        if self._first is None or self.bytes_done < WORTH_MEASURING:
            return None
        elapsed = self._clock() - self._first
        return self.bytes_done / elapsed if elapsed > 0 else None

    def look(self) -> Progress:
        """The state now."""
        rate = self.rate
        left = max(self.bytes_total - self.bytes_done, 0)
        return Progress(
            phase=self.phase,
            images_done=self.images_done,
            images_total=self.images_total,
            bytes_done=self.bytes_done,
            bytes_total=self.bytes_total,
            bytes_per_second=round(rate),
            eta_seconds=round(left / rate) if rate > 0 else None,
            current=next(iter(self._active), None),
        )
