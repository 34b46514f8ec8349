"""What keeps the data folder tidy in the background."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from connected_registry.app.store import Store

LAYOUT_DELAY: Final = 5.0
"""Seconds that changes are gathered before ``index.json`` is written again."""

UPLOADS_EVERY: Final = 3600.0
UPLOAD_IDLE: Final = timedelta(days=2)
"""An upload session that nobody continued for so long is dropped."""


class Housekeeping:
    """Writes ``index.json`` after changes, and drops abandoned uploads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = asyncio.Event()

    def content_changed(self) -> None:
        """Note that images came or went."""
        self._changed.set()

    async def close(self) -> None:
        """Write what is still to be written: nobody comes back for it."""
        if self._changed.is_set():
            await asyncio.to_thread(self._store.layout.write)

    async def run(self) -> None:
        """Go on for ever, beginning with what an earlier process may have left undone."""
        self._changed.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_layout())
            group.create_task(self._drop_uploads())

    async def _keep_layout(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(LAYOUT_DELAY)
            # Cleared first: what changes while the file is written needs it written again.
            self._changed.clear()
            try:
                await asyncio.to_thread(self._store.layout.write)
            except BaseException:
                self._changed.set()
                raise

    async def _drop_uploads(self) -> None:
        while True:
            await asyncio.to_thread(self._store.uploads.expire, UPLOAD_IDLE)
            await asyncio.sleep(UPLOADS_EVERY)
