"""Carry a plan out: fetch, commit and remove, each image a unit of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from connected_registry.errors import (
    DiskFull,
    NoRoom,
    ParentError,
    ParentNotFound,
    ParentOffline,
    ParentThrottled,
    RegistryError,
    StorageError,
    SyncStopped,
)
from connected_registry.parent.admission import Admission, Room
from connected_registry.parent.plan import Plan, PlannedImage, TagNote, TagReason
from connected_registry.parent.result import ImageFailure
from connected_registry.parent.together import first_of, together
from connected_registry.storage.content import ImageCommit
from connected_registry.storage.ledger import ImageState

if TYPE_CHECKING:
    from connected_registry.parent.client import ParentClient
    from connected_registry.parent.fetch import Fetcher
    from connected_registry.parent.progress import Tracker
    from connected_registry.storage.blobs import BlobStore
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.registry import Registry

Announce = Callable[[str, dict[str, Any]], None]
"""Told ``imageAvailable`` and ``imageRemoved`` with the facts of each."""


@dataclass(slots=True)
class Carried:
    """What has been done so far; valid also when the work ended early."""

    images: list[PlannedImage] = field(default_factory=list)
    failures: list[ImageFailure] = field(default_factory=list)
    removed: list[TagNote] = field(default_factory=list)


class Carrier:
    """Carries out one plan."""

    def __init__(
        self,
        client: ParentClient,
        registry: Registry,
        blobs: BlobStore,
        ledger: Ledger,
        fetcher: Fetcher,
        tracker: Tracker,
        *,
        concurrency: int,
        clock: Callable[[], datetime],
        announce: Announce,
        room: Room,
    ) -> None:
        self._client = client
        self._registry = registry
        self._blobs = blobs
        self._ledger = ledger
        self._fetcher = fetcher
        self._tracker = tracker
        self._concurrency = concurrency
        self._clock = clock
        self._announce = announce
        self._admission = Admission(room, blobs)
        self.carried = Carried()

    async def carry(self, plan: Plan) -> None:
        """Do all of it.

        Failures of single images are noted in ``carried``. Raises `ParentOffline` and
        `ParentThrottled` when the parent is gone for all, `SyncStopped` (also at the end, where
        there was no room for an image), and `DiskFull`.
        """
        waiting = deque(plan.images)

        async def work() -> None:
            while waiting:
                await self._image(waiting.popleft())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(waiting))):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        self._tracker.phase = "removing"
        for note in plan.removals:
            await self._remove(note)
        if self._admission.refused:
            raise SyncStopped("disk")

    async def _image(self, image: PlannedImage) -> None:
        name = str(image)
        self._tracker.begin(name)
        done = False
        try:
            async with self._admission.admit(image):
                await together(
                    (
                        self._fetcher.fetch(image.repository, blob.digest, blob.size)
                        for blob in image.blobs
                    ),
                    limit=self._concurrency,
                )
                await asyncio.to_thread(self._commit, image)
            done = True
        except ParentNotFound as error:
            await self._fail(image, "moved at the parent", error)
        except ParentOffline as error:
            await self._fail(image, error.kind, error)
            # One blob may be cut off by something on the way while the parent is well.
            await self._client.ping()
        except ParentThrottled:
            raise
        except ParentError as error:
            await self._fail(image, error.kind, error)
        except DiskFull as error:
            await self._fail(image, "disk", error)
            raise
        except NoRoom as error:
            await self._fail(image, "disk", error)
        except (StorageError, RegistryError) as error:
            await self._fail(image, "invalid", error)
        finally:
            self._tracker.end(name, done=done)
        if done:
            self.carried.images.append(image)
            self._announce("imageAvailable", _facts(image))

    def _commit(self, image: PlannedImage) -> None:
        """Make the image visible, its tag last, and note it. Runs in a thread."""
        now = self._clock()
        self._registry.commit_image(
            ImageCommit(
                repository=image.repository,
                tags=(image.tag,),
                root=image.digest,
                manifests=tuple(
                    (each.digest, each.media_type, self._blobs.read(each.digest))
                    for each in image.manifests
                ),
                blobs=tuple((blob.digest, blob.size) for blob in image.blobs),
                confirmed_at=now,
                companions=tuple((each.tag, each.digest) for each in image.companions),
            )
        )
        self._ledger.record_image(
            ImageState(
                image.repository,
                image.tag,
                wanted=image.digest,
                held=image.digest,
                state="synced",
                rule_fingerprint=image.rule_fingerprint,
                confirmed_at=now,
            ),
            now,
        )

    async def _fail(self, image: PlannedImage, reason: str, error: Exception) -> None:
        detail = str(error)
        self.carried.failures.append(
            ImageFailure(str(image), reason, detail, image.repository, image.tag)
        )
        state = ImageState(
            image.repository,
            image.tag,
            wanted=image.digest,
            held=image.previous,
            state="failed",
            reason=reason,
            detail=detail,
            bytes_missing=image.bytes_to_fetch,
            rule_fingerprint=image.rule_fingerprint,
        )
        await asyncio.to_thread(self._ledger.record_image, state, self._clock())

    async def _remove(self, note: TagNote) -> None:
        if note.reason is TagReason.SUPERSEDED and any(
            failure.repository == note.repository for failure in self.carried.failures
        ):
            # What should take its place has not all come in.
            return
        if await asyncio.to_thread(self._forget, note):
            self.carried.removed.append(note)
            self._announce(
                "imageRemoved",
                {"repository": note.repository, "tag": note.tag, "digest": note.digest},
            )

    def _forget(self, note: TagNote) -> bool:
        """Remove a tag unless it was changed here since the plan was made. Runs in a thread."""
        assert note.digest is not None
        if not self._registry.withdraw_tag(note.repository, note.tag, note.digest):
            return False
        self._ledger.forget_image(note.repository, note.tag)
        return True


def _facts(image: PlannedImage) -> dict[str, Any]:
    root = next(each for each in image.manifests if each.digest == image.digest)
    return {
        "repository": image.repository,
        "tag": image.tag,
        "digest": image.digest,
        "mediaType": root.media_type,
        "size": root.size,
        "bytes": sum(blob.size for blob in image.blobs),
        "previous": image.previous,
    }
