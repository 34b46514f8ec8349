"""Which reported patch to send next: the difference between what is wanted and what the hub has.

Pure. A patch that the hub refuses is split, and what is refused alone is set aside until its value
changes: one bad property never holds the others back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connected_registry.edge.patch import (
    Document,
    diff_reported,
    merge_patch,
    same,
    without_nulls,
)
from connected_registry.edge.twin import strip


class ReportedDelta:
    """The wanted document beside the one that the hub has acknowledged."""

    def __init__(self) -> None:
        self.wanted: Document | None = None
        self.acknowledged: Document = {}
        self._refused: dict[str, Any] = {}
        self._alone: set[str] | None = None
        """While a refused patch is split: the properties that were sent alone."""

    @property
    def settled(self) -> bool:
        """Whether the hub has all that it takes."""
        return self.next_patch() is None

    @property
    def refused(self) -> tuple[str, ...]:
        """The properties set aside."""
        return tuple(self._refused)

    def want(self, document: Mapping[str, Any]) -> None:
        """What the reported properties should be, as a whole; nulls in it are left out."""
        wanted: Document = without_nulls(document)
        self.wanted = wanted
        self._refused = {
            key: value for key, value in self._refused.items() if same(wanted.get(key), value)
        }

    def begin(self, reported: Mapping[str, Any]) -> None:
        """Take the twin's half as the hub has it at the start of a session."""
        self.acknowledged = strip(reported)

    def next_patch(self) -> Document | None:
        """What to send; None while there is nothing, or nothing is wanted yet."""
        if self.wanted is None:
            return None
        patch = diff_reported(self.acknowledged, self.wanted)
        for key in self._refused:
            patch.pop(key, None)
        if self._alone is not None:
            for key in patch:
                if key not in self._alone:
                    return {key: patch[key]}
        return patch or None

    def accept(self, patch: Mapping[str, Any]) -> None:
        """The hub has taken ``patch``."""
        self.acknowledged = merge_patch(self.acknowledged, patch)
        self._tried(patch)

    def refuse(self, patch: Mapping[str, Any]) -> str | None:
        """The hub will never take ``patch``; the property set aside, once it is known which."""
        if len(patch) > 1:
            self._alone = set()
            return None
        (key,) = patch
        self._refused[key] = (self.wanted or {}).get(key)
        self._tried(patch)
        return key

    def _tried(self, patch: Mapping[str, Any]) -> None:
        if self._alone is None:
            return
        self._alone |= patch.keys()
        left = self.next_patch()
        # Properties that change all the time must not keep the splitting up.
        if left is None or left.keys() <= self._alone:
            self._alone = None
