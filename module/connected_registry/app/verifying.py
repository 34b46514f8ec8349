"""Reading everything stored again, slowly and for ever; mending what is damaged."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from connected_registry.app.link import Link
from connected_registry.app.store import Store
from connected_registry.app.thread import see_through
from connected_registry.edge import payload as payloads
from connected_registry.edge.methods import Answer
from connected_registry.edge.reported import StatusDetail
from connected_registry.edge.tasks import Task
from connected_registry.edge.telemetry import Event, IntegrityFailure
from connected_registry.errors import ParentError, StorageError
from connected_registry.parent.restore import Restorer
from connected_registry.storage.verification import Damage, Item, Verifier

CYCLE: Final = timedelta(days=7)
"""Within which everything is read once."""

SLOWEST: Final = 1024 * 1024
FASTEST: Final = 64 * 1024 * 1024
"""Bytes a second of the background scrub."""

LOOK_AGAIN: Final = 2.0
"""Seconds between two looks for something to do."""

MEND_AGAIN: Final = 300.0
"""Seconds between two attempts to mend what could not be mended."""

NAMED: Final = 50

_log = structlog.stdlib.get_logger(__name__)


class _Ended(Exception):
    """The reading was called off."""


class _Pace:
    """Lets a thread read so many bytes a second, until it is told to end."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._ended = threading.Event()
        self._begun = time.monotonic()
        self._taken = 0

    def __call__(self, size: int) -> None:
        self._taken += size
        ahead = 0.0
        if self._rate is not None:
            ahead = self._taken / self._rate - (time.monotonic() - self._begun)
        if self._ended.wait(ahead) if ahead > 0 else self._ended.is_set():
            raise _Ended

    def end(self) -> None:
        """Call the reading off."""
        self._ended.set()


@dataclass(slots=True)
class Verified:
    """What a verification found so far."""

    checked: int = 0
    bytes: int = 0
    damaged: int = 0
    repaired: int = 0
    unrecoverable: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The result of the direct method ``verifyStore``."""
        return {
            "checked": self.checked,
            "bytes": self.bytes,
            "damaged": self.damaged,
            "repaired": self.repaired,
            "unrecoverable": self.unrecoverable,
            "findings": list(self.findings),
        }


class Verifying:
    """Runs the verifier. ``tell`` takes events; ``link`` is None while there is no parent."""

    def __init__(
        self,
        store: Store,
        verifier: Verifier,
        link: Callable[[], Link | None],
        *,
        clock: Callable[[], datetime],
        tell: Callable[[Event], None],
        cycle: timedelta = CYCLE,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._link = link
        self._clock = clock
        self._tell = tell
        self._cycle = cycle
        self._damaged: tuple[Damage, ...] = ()
        self._mended_at = float("-inf")

    def details(self) -> Iterable[StatusDetail]:
        """What is damaged and not mended yet."""
        damaged = self._damaged
        if damaged:
            names = ", ".join(each.digest for each in damaged[:3])
            yield StatusDetail(
                type="Storage",
                code="IntegrityFailure",
                description=f"{len(damaged)} pieces of stored content are damaged and not served "
                f"until they are fetched or pushed again: {names}",
                timestamp=min(each.found_at for each in damaged),
            )

    async def run(self) -> None:
        """Scrub and mend, for ever."""
        self._damaged = tuple(await asyncio.to_thread(self._verifier.damaged))
        while True:
            busy = await self._look_at_suspects()
            busy |= await self._scrub()
            await self._mend_now_and_then()
            if not busy:
                await asyncio.sleep(LOOK_AGAIN)

    async def verify_store(self, wanted: payloads.VerifyStore, task: Task) -> Answer:
        """The direct method: everything, as fast as the disk reads."""
        found = Verified()
        last = ""
        while page := await asyncio.to_thread(self._verifier.page, last):
            last = page[-1].digest
            await self._check(page, _Pace(None), found, repair=wanted.repair)
            task.report(found.to_json())
        found.unrecoverable = found.damaged - found.repaired
        return found.to_json()

    async def _scrub(self) -> bool:
        due = await asyncio.to_thread(self._verifier.due, self._cycle)
        if not due:
            return False
        stored = (await asyncio.to_thread(self._store.registry.statistics)).bytes
        rate = 1.5 * stored / self._cycle.total_seconds()
        await self._check(due, _Pace(min(max(rate, SLOWEST), FASTEST)), Verified(), repair=True)
        return True

    async def _look_at_suspects(self) -> bool:
        known = {damage.digest for damage in self._damaged}
        suspects = self._store.registry.take_suspects() - known
        if not suspects:
            return False
        items = await asyncio.to_thread(self._verifier.items, suspects)
        await self._check(items, _Pace(None), Verified(), repair=True)
        return True

    async def _check(
        self, items: Iterable[Item], pace: _Pace, found: Verified, *, repair: bool
    ) -> None:
        whole: list[Item] = []
        try:
            for item in items:
                damage = await self._read(item, pace)
                found.checked += 1
                found.bytes += item.size
                if damage is None:
                    whole.append(item)
                    continue
                found.damaged += 1
                error = await self._mend(damage) if repair else "not asked to"
                found.repaired += error is None
                self._note(damage, error, found)
        finally:
            if whole:
                await see_through(lambda: self._verifier.passed(whole))
        self._damaged = tuple(await asyncio.to_thread(self._verifier.damaged))

    async def _read(self, item: Item, pace: _Pace) -> Damage | None:
        reading = asyncio.ensure_future(asyncio.to_thread(self._verifier.check, item, pace))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            pace.end()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()
            raise

    def _note(self, damage: Damage, error: str | None, found: Verified) -> None:
        outcome = "fetched again" if error is None else f"not fetched again: {error}"
        description = f"{damage.digest} was damaged ({damage.reason}); {outcome}"
        _log.warning("storage.damaged", digest=damage.digest, reason=damage.reason, error=error)
        self._tell(
            IntegrityFailure(digest=damage.digest, repaired=error is None, description=description)
        )
        if len(found.findings) < NAMED:
            found.findings.append(
                {
                    "digest": damage.digest,
                    "reason": damage.reason,
                    "repaired": error is None,
                    "detail": description,
                }
            )

    async def _mend_now_and_then(self) -> None:
        now = time.monotonic()
        if not self._damaged or now - self._mended_at < MEND_AGAIN:
            return
        self._mended_at = now
        for damage in self._damaged:
            item = Item(damage.digest, damage.size)
            # It may have been pushed or synced again meanwhile.
            there = await asyncio.to_thread(self._store.blobs.size, damage.digest)
            if there == damage.size and await self._read(item, _Pace(None)) is None:
                await see_through(partial(self._verifier.passed, [item]))
            elif await self._mend(damage) is None:
                _log.info("storage.mended", digest=damage.digest)
        self._damaged = tuple(await asyncio.to_thread(self._verifier.damaged))

    async def _mend(self, damage: Damage) -> str | None:
        """Fetch it again; None once it is whole, else why not."""
        link = self._link()
        if link is None:
            return "there is no parent"
        manifest, repositories = await asyncio.to_thread(self._verifier.places, damage.digest)
        if not repositories:
            return "no repository shows it"
        restorer = Restorer(link.client, self._store.blobs)
        try:
            await restorer.restore(damage.digest, damage.size, repositories, manifest=manifest)
        except (ParentError, StorageError) as error:
            return str(error)
        item = Item(damage.digest, damage.size)
        await see_through(lambda: self._verifier.passed([item]))
        return None
