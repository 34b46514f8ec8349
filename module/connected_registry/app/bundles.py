"""Bundles made of, and brought into, the data folder of this replica."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from connected_registry.app.local import LocalMethod
from connected_registry.app.store import Store
from connected_registry.bundle.bring import Importer, Rules
from connected_registry.bundle.export import Exporter, Written
from connected_registry.bundle.inventory import Inventory, Receipt
from connected_registry.bundle.opened import OpenBundle
from connected_registry.bundle.seal import SealKey
from connected_registry.bundle.volumes import MIN_VOLUME
from connected_registry.edge.methods import Answer
from connected_registry.edge.payload import Payload
from connected_registry.edge.tasks import Task
from connected_registry.edge.twin import Desired
from connected_registry.errors import StorageError
from connected_registry.parent.admission import Room
from connected_registry.parent.books import fingerprint
from connected_registry.parent.memory import Memory
from connected_registry.policy.model import Items
from connected_registry.policy.scope import RepositoryRule, Scope
from connected_registry.storage import disk

RECEIPT: Final = "bundle/receipt"
"""Where the ledger keeps the receipt of the last import."""

PROGRESS_EVERY: Final = 0.2


class ExportBundle(Payload):
    """What goes into a bundle, and where it is written; paths are absolute."""

    output: str
    repositories: Items[RepositoryRule] = Field((), description="empty: what the site wants")
    inventory: str | None = None
    volume_size: int | None = Field(None, ge=MIN_VOLUME)
    sign_key: str | None = None


class ImportBundle(Payload):
    """Which bundle; paths are absolute."""

    files: Items[str] = Field(min_length=1)
    everything: bool = False
    verify_key: str | None = None
    receipt: str | None = None


class TakeInventory(Payload):
    """Where the inventory is written."""

    output: str


class Bundles:
    """What the local methods do. ``memory`` is what syncs of the parent in force remember."""

    def __init__(
        self,
        store: Store,
        desired: Callable[[], Desired],
        memory: Callable[[], Memory],
        *,
        clock: Callable[[], datetime],
        announce: Callable[[str, dict[str, Any]], None],
        room: Room,
    ) -> None:
        self._store = store
        self._desired = desired
        self._memory = memory
        self._clock = clock
        self._announce = announce
        self._room = room

    def table(self) -> Mapping[str, LocalMethod]:
        """The methods by name."""
        return {
            "exportBundle": LocalMethod(ExportBundle, self.export),
            "importBundle": LocalMethod(ImportBundle, self.bring),
            "takeInventory": LocalMethod(TakeInventory, self.inventory),
        }

    async def export(self, wanted: ExportBundle, task: Task) -> Answer:
        """Write a bundle; without anything to carry, none."""

        def told(done: int, total: int) -> None:
            progress = {"phase": "exporting", "bytesDone": done, "bytesTotal": total}
            task.report(progress)

        written = await asyncio.to_thread(self._export, wanted, told)
        return written.model_dump(mode="json", by_alias=True)

    def _export(self, wanted: ExportBundle, told: Callable[[int, int], None]) -> Written:
        key = SealKey.load("--sign-key", Path(wanted.sign_key)) if wanted.sign_key else None
        lacking = (
            Inventory.load("--inventory", Path(wanted.inventory)) if wanted.inventory else None
        )
        exporter = Exporter(self._store.registry, self._store.blobs)
        planned = exporter.plan(self._scope(wanted, lacking), lacking, wanted.volume_size)
        if not planned.contents.images:
            return Written(
                bundle="",
                files=(),
                images=(),
                bytes=0,
                current=planned.current,
                left_out=planned.left_out,
            )
        return exporter.write(planned, Path(wanted.output), key, told)

    def _scope(self, wanted: ExportBundle, lacking: Inventory | None) -> Scope | None:
        """What was named, else what the site said it wants, else what this replica wants."""
        if wanted.repositories:
            return Scope(repositories=wanted.repositories)
        own = self._desired().scope
        for scope in (lacking.scope if lacking is not None else None, own):
            if scope is not None and scope.repositories:
                return scope
        return None

    async def bring(self, wanted: ImportBundle, task: Task) -> Answer:
        """Import a bundle and leave a receipt."""
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def arrived(facts: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self._announce, "imageAvailable", facts)

        def admit(image: str, size: int) -> str | None:
            return asyncio.run_coroutine_threadsafe(self._refusal(image, size), loop).result()

        desired = self._desired()
        importer = Importer(
            self._store.registry,
            self._store.blobs,
            self._store.ledger,
            Rules(desired.scope, desired.mode, wanted.everything),
            clock=self._clock,
            arrived=arrived,
            stop=stop.is_set,
            admit=admit,
        )
        work = asyncio.create_task(asyncio.to_thread(self._bring, wanted, importer))
        try:
            while not work.done():
                task.report(importer.progress.to_json())
                await asyncio.wait({work}, timeout=PROGRESS_EVERY)
        finally:
            # The folder is closed after this: the thread must be done with it.
            stop.set()
            await asyncio.wait({work})
        receipt = work.result()
        await asyncio.to_thread(self._settle, desired.scope)
        answer = receipt.model_dump(mode="json", by_alias=True)
        answer["receipt"] = await self._leave_receipt(wanted, receipt)
        return answer

    async def _refusal(self, image: str, size: int) -> str | None:
        """Why so much of an image may not be stored, after making room as a sync would."""
        allowed = await self._room.allowance()
        if size > allowed.bytes and await self._room.make_room(image, size - allowed.bytes):
            allowed = await self._room.allowance()
        if size <= allowed.bytes:
            return None
        return (
            f"{size} bytes of it are not here and there is room for {max(allowed.bytes, 0)} "
            f"({allowed.reason})"
        )

    def _bring(self, wanted: ImportBundle, importer: Importer) -> Receipt:
        key = SealKey.load("--verify-key", Path(wanted.verify_key)) if wanted.verify_key else None
        with OpenBundle.open([Path(each) for each in wanted.files], key) as bundle:
            receipt = importer.run(bundle, checked=key is not None)
        self._store.ledger.put(RECEIPT, receipt.model_dump(mode="json", by_alias=True))
        return receipt

    def _settle(self, scope: Scope) -> None:
        """Where all is here that the parent last listed, say so. Runs in a thread."""
        memory = self._memory()
        known = memory.completeness
        if known.in_sync != "false" or known.scope != fingerprint(scope):
            return
        missing = [
            image
            for image in self._store.ledger.images(states=("pending", "failed"))
            if scope.rule_for(image.repository) is not None
        ]
        memory.completeness = replace(
            known,
            in_sync="false" if missing else "true",
            missing_images=len(missing),
            missing_bytes=sum(image.bytes_missing or 0 for image in missing),
        )
        memory.save()

    async def _leave_receipt(self, wanted: ImportBundle, receipt: Receipt) -> str | None:
        """Beside the bundle, unless named; a stick that cannot be written is no failure."""
        first = Path(wanted.files[0])
        path = Path(wanted.receipt or first.with_name(f"{first.name}.receipt.json"))
        try:
            await asyncio.to_thread(self._take_inventory, path, receipt)
        except StorageError:
            if wanted.receipt is not None:
                raise
            return None
        return str(path)

    async def inventory(self, wanted: TakeInventory, task: Task) -> Answer:
        """Write down what is here."""
        task.report({"phase": "looking"})
        kept = await asyncio.to_thread(self._store.ledger.get, RECEIPT)
        receipt = Receipt.read(json.dumps(kept).encode(), "the receipt") if kept else None
        taken = await asyncio.to_thread(self._take_inventory, Path(wanted.output), receipt)
        return {
            "file": wanted.output,
            "site": taken.site,
            "images": len(taken.images),
            "digests": len(taken.digests),
        }

    def _take_inventory(self, path: Path, receipt: Receipt | None) -> Inventory:
        taken = Inventory.take(
            self._store.registry,
            site=self._store.identity(),
            scope=self._desired().scope,
            now=self._clock(),
            receipt=receipt,
        )
        with disk.disk_errors(f"cannot write {path}"):
            disk.replace_file(path, taken.write(), path.parent)
        return taken
