"""Fetch blobs: each once, several at a time, going on where an earlier try ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from connected_registry.errors import (
    DigestInvalid,
    ParentError,
    ParentFailed,
    ParentLied,
    ParentNotFound,
    ParentOffline,
    ParentThrottled,
    ParentUnauthorized,
    SizeInvalid,
    StorageError,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.progress import Tracker
from connected_registry.parent.rate import ByteRate, Meter

if TYPE_CHECKING:
    from connected_registry.parent.client import BlobStream, ParentClient
    from connected_registry.storage.blobs import BlobStore, Partial

BATCH: Final = 1024 * 1024
"""Bytes gathered before they are hashed and written, in a thread."""

TRIES: Final = 5
"""Attempts in a row that bring not a byte before a blob is given up for this sync."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
LONGEST_RETRY_AFTER: Final = 60.0

Sleep = Callable[[float], Awaitable[None]]


class Fetcher:
    """The fetches of one sync.

    What two images or repositories share comes over the link once, whoever asks first.
    """

    def __init__(
        self,
        client: ParentClient,
        blobs: BlobStore,
        *,
        concurrency: int,
        rate: ByteRate,
        meter: Meter,
        tracker: Tracker,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = client
        self._blobs = blobs
        self._places = asyncio.Semaphore(concurrency)
        self._rate = rate
        self._meter = meter
        self._tracker = tracker
        self._sleep = sleep
        self._flights: dict[Digest, asyncio.Future[None]] = {}
        self._failures: dict[tuple[RepositoryName | None, Digest], ParentError] = {}
        self.fetched = 0
        """Blobs brought in whole."""

    async def fetch(self, repository: RepositoryName, digest: Digest, size: int) -> None:
        """Return once the blob is whole and durable in the store.

        Raises a `ParentError` (`ParentLied` for other bytes than promised), `SyncStopped` when
        the byte budget is used up, `DiskFull`. What has come by then is kept for the next try.
        """
        while not await self._has(digest, size):
            for place in (repository, None):
                if (known := self._failures.get((place, digest))) is not None:
                    raise type(known)(str(known), retry_after=known.retry_after)
            flight = self._flights.get(digest)
            if flight is None:
                await self._fly(repository, digest, size)
                return
            # Where the other task is cancelled, or refused in its repository, this one tries
            # itself.
            await asyncio.wait([flight])

    async def _has(self, digest: Digest, size: int) -> bool:
        return await asyncio.to_thread(self._blobs.holds, digest, size)

    async def _fly(self, repository: RepositoryName, digest: Digest, size: int) -> None:
        self._flights[digest] = flight = asyncio.get_running_loop().create_future()
        try:
            async with self._places:
                await self._download(repository, digest, size)
            self.fetched += 1
        except (ParentNotFound, ParentUnauthorized) as error:
            self._failures[repository, digest] = error
            raise
        except ParentError as error:
            self._failures[None, digest] = error
            raise
        finally:
            del self._flights[digest]
            flight.set_result(None)

    async def _download(self, repository: RepositoryName, digest: Digest, size: int) -> None:
        """Try until the blob is whole, as long as each few tries bring something."""
        idle = 0
        started_over = False
        while True:
            with await self._open(digest, size) as partial:
                resumed = partial.offset > 0
                before = partial.offset
                try:
                    if partial.offset < size:
                        await self._receive(repository, partial)
                    await asyncio.to_thread(partial.finish)
                    return
                except DigestInvalid as error:
                    # What an earlier try left may have been damaged by a power cut: once more
                    # from the start. Bytes that all came in one piece speak for themselves.
                    if not resumed or started_over:
                        raise ParentLied(
                            f"{repository}: the parent's bytes for {digest} are others"
                        ) from error
                    started_over, idle = True, 0
                    continue
                except (ParentOffline, ParentFailed, ParentThrottled) as error:
                    idle = 1 if partial.offset > before else idle + 1
                    if idle >= TRIES:
                        raise
                    pause = _pause(idle, error.retry_after)
            await self._sleep(pause)

    async def _open(self, digest: Digest, size: int) -> Partial:
        """The blob's download; when cancelled meanwhile, it is let go for whoever comes next."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._blobs.partial, digest, size))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if opening.exception() is None:
                opening.result().close()
            raise

    async def _receive(self, repository: RepositoryName, partial: Partial) -> None:
        """Add what one answer of the parent brings."""
        await self._meter.tick()
        async with self._client.blob(
            repository, partial.digest, partial.offset, size=partial.size
        ) as stream:
            try:
                # A parent that always begins at the start sends again what is here already.
                await self._drain(stream, partial, skip=partial.offset - stream.offset)
            except SizeInvalid as error:
                raise ParentLied(f"{repository}: {error}") from error

    async def _drain(self, stream: BlobStream, partial: Partial, *, skip: int) -> None:
        batch = bytearray()
        try:
            async for chunk in stream.chunks:
                fresh = chunk[skip:]
                skip -= len(chunk) - len(fresh)
                batch += fresh
                self._tracker.received(len(fresh))
                await self._meter.tick()
                await self._rate.take(len(chunk))
                if len(batch) >= BATCH:
                    full, batch = batch, bytearray()
                    await _in_thread(partial.write, full)
            full, batch = batch, bytearray()
            await _in_thread(partial.write, full)
        except BaseException:
            # Also after a cut or a cancellation: these bytes have been paid for.
            with suppress(StorageError, SizeInvalid):
                partial.write(batch)
            raise


async def _in_thread(write: Callable[[bytearray], None], data: bytearray) -> None:
    """Write in a thread, and see it through when cancelled, so that no two writes overlap."""
    task = asyncio.ensure_future(asyncio.to_thread(write, data))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _pause(failures: int, retry_after: float | None) -> float:
    pause = min(FIRST_PAUSE * (1 << (failures - 1)), LONGEST_PAUSE)
    pause *= 1 - random.random() / 2  # noqa: S311 - spreads clients, guards nothing
    return max(pause, min(retry_after or 0.0, LONGEST_RETRY_AFTER))
