"""How fast and how much may be fetched: bytes a second, and bytes a day or month."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from aiolimiter import AsyncLimiter

from connected_registry.errors import SyncStopped

if TYPE_CHECKING:
    from connected_registry.policy.sync import ByteBudget
    from connected_registry.storage.ledger import Ledger

BURST_SECONDS: Final = 0.1
"""Longest time whose share may pass at once; short, so that short transfers keep the rate too."""

SAVE_EVERY: Final = 1024 * 1024
"""Bytes counted in memory before they are written down; at most these are forgotten by a kill."""


class ByteRate:
    """A limit in bytes a second that all fetches share, first come first served."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._piece = 0.0
        self._limiter: AsyncLimiter | None = None
        if bytes_per_second:
            # A piece of less than one byte could never be taken.
            self._piece = max(bytes_per_second * BURST_SECONDS, 1.0)
            self._limiter = AsyncLimiter(self._piece, self._piece / bytes_per_second)
        self._turn = asyncio.Lock()

    async def take(self, count: int) -> None:
        """Wait until ``count`` more bytes are due."""
        if self._limiter is None:
            return
        # The limiter serves small requests first; the lock keeps the order of asking.
        async with self._turn:
            left = float(count)
            while left > 0:
                piece = min(left, self._piece)
                await self._limiter.acquire(piece)
                left -= piece


class Meter:
    """Counts what comes from the parent against the budget; the count survives restarts.

    ``received`` tells all bytes that came since the program started, lists and manifests included.
    """

    def __init__(
        self, ledger: Ledger, clock: Callable[[], datetime], received: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._received = received
        self._seen = received()
        self._budget: ByteBudget | None = None
        self._bucket: datetime | None = None
        self._used = 0
        self._unsaved = 0
        self._lock = asyncio.Lock()

    def limit(self, budget: ByteBudget | None) -> None:
        """Put another budget, or none, in force. Bytes that came under none are not counted."""
        if self._budget is None:
            self._seen = self._received()
        if budget != self._budget:
            self._budget, self._bucket = budget, None

    async def tick(self) -> None:
        """Count what came since the last time; `SyncStopped` ("budget") once all is used up.

        The bytes are counted in any case: they have been paid for.
        """
        budget = self._budget
        if budget is None:
            return
        async with self._lock:
            bucket = budget.bucket_start(self._clock())
            if bucket != self._bucket:
                await self._save()
                self._bucket = bucket
                self._used = await asyncio.to_thread(self._ledger.meter, bucket)
            total = self._received()
            fresh, self._seen = total - self._seen, total
            self._used += fresh
            self._unsaved += fresh
            spent = self._used >= budget.bytes
            if self._unsaved >= SAVE_EVERY or spent:
                await self._save()
        if spent:
            raise SyncStopped("budget")

    async def close(self) -> None:
        """Write down what has been counted."""
        async with self._lock:
            await self._save()

    async def _save(self) -> None:
        if self._bucket is None or not self._unsaved:
            return
        count, self._unsaved = self._unsaved, 0
        await asyncio.to_thread(self._ledger.count_bytes, self._bucket, count)
