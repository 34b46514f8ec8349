"""Everything that lives in the data folder, opened and closed together."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.layout import Layout
from connected_registry.storage.ledger import Ledger
from connected_registry.storage.outgoing import Outgoing
from connected_registry.storage.overview import Overview
from connected_registry.storage.registry import Registry
from connected_registry.storage.uploads import Uploads

_SIGNING_KEY: Final = "signing-key"
_IDENTITY: Final = "identity"


class Store:
    """The data folder's parts. Synchronous: open and use it from worker threads."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime]) -> None:
        """Open or make the folder.

        Raises `FolderInUse`, or `StorageError` where it cannot be used.
        """
        with ExitStack() as opened:
            self.folder = opened.enter_context(DataFolder.open(path))
            self.database = Database(self.folder.database)
            opened.callback(self.database.close)
            self.blobs = BlobStore(self.folder)
            self.outgoing = Outgoing(self.database, clock=clock)
            self.registry = Registry(
                self.folder, self.database, self.blobs, clock=clock, outgoing=self.outgoing
            )
            self.uploads = Uploads(self.folder, self.database, self.blobs, clock=clock)
            opened.callback(self.uploads.close)
            self.ledger = Ledger(self.database)
            self.overview = Overview(self.database, self.ledger)
            self.layout = Layout(self.folder, self.database)
            self.blobs.recover()
            self.uploads.recover()
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Let go of everything, the folder's lock last."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def signing_key(self) -> bytes:
        """The key that signs this replica's tokens, made at first use."""
        return base64.b64decode(
            self._once(_SIGNING_KEY, base64.b64encode(secrets.token_bytes(32)).decode())
        )

    def identity(self) -> str:
        """A name that no other replica has: tokens are good for one replica only."""
        return self._once(_IDENTITY, str(uuid.uuid4()))

    def _once(self, key: str, fresh: str) -> str:
        kept = self.ledger.get(key)
        if isinstance(kept, str):
            return kept
        self.ledger.put(key, fresh)
        return fresh
