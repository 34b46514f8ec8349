"""Letting images in one by one, as far as there is room for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from connected_registry.errors import NoRoom

if TYPE_CHECKING:
    from connected_registry.parent.plan import PlannedImage
    from connected_registry.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be fetched: ``bytes``, one image at a time where ``scarce``; why, in a sentence."""

    bytes: int
    scarce: bool
    reason: str


class Room(Protocol):
    """Whoever knows how much room there is. Asked from the loop; it waits in threads."""

    async def allowance(self) -> Allowance:
        """What may be fetched now."""

    async def make_room(self, image: str, size: int) -> bool:
        """Give something up for an image, if that is wanted; whether anything came free."""


class Plenty:
    """There is always room."""

    async def allowance(self) -> Allowance:
        """More than any image has."""
        return Allowance(1 << 62, False, "")

    async def make_room(self, image: str, size: int) -> bool:
        """There is nothing to be done."""
        return False


class Admission:
    """The images of one sync that are being fetched, and what they still need."""

    def __init__(self, room: Room, blobs: BlobStore) -> None:
        self._room = room
        self._blobs = blobs
        self._claimed: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self.refused = 0
        """Images that there was no room for."""

    @asynccontextmanager
    async def admit(self, image: PlannedImage) -> AsyncIterator[None]:
        """Wait until the image fits beside those under way. Raises `NoRoom` where it never does."""
        name = str(image)
        async with self._changed:
            await self._wait(image, name)
        try:
            yield
        finally:
            async with self._changed:
                del self._claimed[name]
                self._changed.notify_all()

    async def _wait(self, image: PlannedImage, name: str) -> None:
        tried = False
        while True:
            needed = await asyncio.to_thread(self._missing, image)
            allowed = await self._room.allowance()
            if needed == 0 or (
                needed + sum(self._claimed.values()) <= allowed.bytes
                and not (allowed.scarce and self._claimed)
            ):
                self._claimed[name] = needed
                return
            if self._claimed:
                await self._changed.wait()
            elif tried or not await self._room.make_room(name, needed - allowed.bytes):
                self.refused += 1
                raise NoRoom(
                    f"{needed} bytes are still to be fetched and there is room for "
                    f"{max(allowed.bytes, 0)} ({allowed.reason})"
                )
            else:
                tried = True

    def _missing(self, image: PlannedImage) -> int:
        """Bytes that fetching the image adds to the disk. Runs in a thread."""
        return sum(
            max(0, blob.size - self._blobs.partial_size(blob.digest))
            for blob in image.blobs
            if not self._blobs.holds(blob.digest, blob.size)
        )
