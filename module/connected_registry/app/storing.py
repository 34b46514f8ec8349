"""Watching the room on the disk, and making some where that is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from connected_registry.app.collecting import Collecting
from connected_registry.app.thread import see_through
from connected_registry.edge.reported import StatusDetail
from connected_registry.edge.telemetry import Event, StoragePressure
from connected_registry.edge.twin import Desired
from connected_registry.errors import StorageError
from connected_registry.parent.admission import Allowance
from connected_registry.policy.storage import Eviction
from connected_registry.storage.collected import Graces
from connected_registry.storage.eviction import Evictor
from connected_registry.storage.space import Room, Space, Step

LOOK_AGAIN: Final = 15.0
"""Seconds between two looks at the room left."""

COLLECT_AGAIN: Final = 900.0
"""Seconds between two collections for lack of room."""

HASTY: Final = Graces(fetched=timedelta(hours=1))
"""What is kept where room is short: no downloads that nobody goes on with."""

_CODES: Final = {Step.SHORT: "SyncStopped", Step.FULL: "DiskError"}

_log = structlog.stdlib.get_logger(__name__)

Announce = Callable[[str, dict[str, Any]], None]


class Storing:
    """The disk-pressure ladder at work; also the `Room` that a sync asks."""

    def __init__(
        self,
        space: Space,
        evictor: Evictor,
        collecting: Collecting,
        desired: Callable[[], Desired],
        *,
        clock: Callable[[], datetime],
        tell: Callable[[Event], None],
        announce: Announce,
    ) -> None:
        self._space = space
        self._evictor = evictor
        self._collecting = collecting
        self._desired = desired
        self._clock = clock
        self._tell = tell
        self._announce = announce
        self._step = Step.ROOM
        self._since: datetime | None = None
        self._room: Room | None = None
        self._collected_at = float("-inf")
        self._evicting = asyncio.Lock()

    def details(self) -> Iterable[StatusDetail]:
        """What is short, in a sentence."""
        if self._step in _CODES and self._room is not None:
            yield StatusDetail(
                type="Disk",
                code=_CODES[self._step],
                description=self._room.describe(),
                timestamp=self._since or self._clock(),
            )

    async def run(self) -> None:
        """Look, tell, collect and give up, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_AGAIN)

    async def look(self) -> Room:
        """One look, with what follows from it."""
        room = await asyncio.to_thread(self._space.look, anew=True)
        if room.step is not self._step:
            self._changed(room)
        if room.step is not Step.ROOM:
            await self._collect()
        if room.step in (Step.SHORT, Step.FULL):
            await self._evict(room.wanted)
        return room

    async def allowance(self) -> Allowance:
        """What a sync may fetch now."""
        room = await asyncio.to_thread(self._space.look, anew=True)
        return Allowance(room.for_sync, room.step is not Step.ROOM, room.describe())

    async def make_room(self, image: str, size: int) -> bool:
        """Collect, then give up what nobody pulls; an image given up before is not let in so."""
        before = (await asyncio.to_thread(self._space.look, anew=True)).left
        await self._collect()
        if not await asyncio.to_thread(self._evictor.was_evicted, image):
            await self._evict(size, spared=image)
        after = (await asyncio.to_thread(self._space.look, anew=True)).left
        return after > before

    def _changed(self, room: Room) -> None:
        before, self._step = self._step, room.step
        # Told until the next change: numbers that go on changing would be a message each time.
        self._room = room
        self._since = self._clock()
        told = _log.info if room.step is Step.ROOM else _log.warning
        told("storage.room", step=room.step.value, before=before.value, left=room.left)
        self._tell(
            StoragePressure(
                step=room.describe(),
                free_bytes=room.free,
                used_bytes=room.used,
                quota_bytes=room.quota,
            )
        )

    async def _collect(self) -> None:
        now = asyncio.get_running_loop().time()
        if (
            now - self._collected_at < COLLECT_AGAIN
            or not self._desired().garbage_collection.enabled
        ):
            return
        self._collected_at = now
        try:
            await self._collecting.collect(graces=HASTY)
        except StorageError as error:
            _log.error("collection.failed", error=str(error))

    async def _evict(self, wanted: int, spared: str = "") -> None:
        if self._desired().storage.eviction is not Eviction.LEAST_RECENTLY_PULLED or wanted <= 0:
            return
        async with self._evicting:
            steps = self._evictor.evict(wanted, [spared])
            while (gone := await see_through(lambda: next(steps, None))) is not None:
                _log.info(
                    "storage.evicted",
                    repository=gone.repository,
                    tag=gone.tag,
                    bytes=gone.bytes,
                )
                self._announce(
                    "imageRemoved",
                    {
                        "repository": gone.repository,
                        "tag": gone.tag,
                        "digest": gone.digest,
                        "reason": "evicted: nobody pulled it and room was needed",
                    },
                )
