"""The desired properties as this module knows them, in the order of their ``$version``.

Pure: no clock, no connection. Patches come in any order, twice or never; a read of the whole twin
settles what they leave open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connected_registry.edge.patch import Document, merge_patch, same
from connected_registry.edge.twin import strip, version_of

MAX_EARLY: Final = 64
"""Patches kept that are ahead of the one that is missing."""


class DesiredSequence:
    """The newest complete document; ``version`` is None until the hub told one."""

    def __init__(self) -> None:
        self.document: Document = {}
        self.version: int | None = None
        self._early: dict[int, Document] = {}

    @property
    def gap(self) -> bool:
        """Whether a later patch is here and one before it is not: the twin is to be read."""
        return bool(self._early)

    def begin(self, desired: Mapping[str, Any]) -> bool:
        """Take the twin's half as read at the start of a session; whether there is news in it.

        A version that is lower than before is taken: the hub is another one than it was, and what
        to think of that is for the receiver to say. No version means that the hub does not know,
        and nothing changes.
        """
        version = version_of(desired)
        self._early.clear()
        if version is None:
            return False
        return self._set(strip(desired), version)

    def read(self, desired: Mapping[str, Any]) -> bool:
        """Take the twin's half as read within a session; whether there is news in it.

        Within a session versions only rise: a lower one is an old copy.
        """
        version = version_of(desired)
        if version is None or (self.version is not None and version < self.version):
            return False
        news = self._set(strip(desired), version)
        return self._catch_up() or news

    def patch(self, patch: Mapping[str, Any]) -> bool:
        """Take a patch; whether the document changed. See `gap` afterwards."""
        version = version_of(patch)
        if version is None or (self.version is not None and version <= self.version):
            return False
        if len(self._early) < MAX_EARLY:
            self._early[version] = strip(patch)
        return self._catch_up()

    def _set(self, document: Document, version: int) -> bool:
        news = version != self.version or not same(document, self.document)
        self.document, self.version = document, version
        return news

    def _catch_up(self) -> bool:
        news = False
        while self.version is not None and self.version + 1 in self._early:
            self.version += 1
            self.document = merge_patch(self.document, self._early.pop(self.version))
            news = True
        if self.version is not None:
            self._early = {n: patch for n, patch in self._early.items() if n > self.version}
        return news
