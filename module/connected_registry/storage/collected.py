"""What a collection did, what it kept, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

EXAMPLES: Final = 50
"""Removed manifests that are named; the others are only counted."""


class Phase(StrEnum):
    """The parts of a collection, in their order."""

    MANIFESTS = "manifests"
    BLOBS = "blobs"
    CONTENT = "content"
    FILES = "files"
    DOWNLOADS = "downloads"


class Kept(StrEnum):
    """The one reason for which something stays."""

    TAGGED = "tagged"
    PART = "part of an index"
    REFERS = "refers to an image"
    NAMED = "named by an image"
    SHOWN = "shown by a repository"
    OUTGOING = "waiting to go up"
    IN_USE = "asked for a moment ago"
    RECENT = "used recently"
    WANTED = "wanted by the sync"


@dataclass(frozen=True, slots=True)
class Graces:
    """How long what nothing names is kept."""

    manifests: timedelta = timedelta(hours=24)
    """Since it was last pushed or pulled, or since a tag let go of it."""
    blobs: timedelta = timedelta(hours=1)
    """A push brings blobs first and the manifest that names them last."""
    files: timedelta = timedelta(hours=1)
    """Files that no row knows: left by a crash, or fetched for an image yet to come."""
    fetched: timedelta = timedelta(days=7)
    """The same while images are still to be fetched."""


@dataclass(slots=True)
class Collected:
    """The outcome so far. ``bytes`` counts files; ``blobs`` counts blobs of repositories."""

    dry_run: bool = False
    phase: Phase | None = Phase.MANIFESTS
    """None once all is done."""
    manifests: int = 0
    blobs: int = 0
    files: int = 0
    bytes: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def note_manifest(self, repository: str, digest: str) -> None:
        """Count a removed manifest."""
        self.manifests += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append({"repository": repository, "digest": digest})

    def note_file(self, size: int) -> None:
        """Count a removed file."""
        self.files += 1
        self.bytes += size

    def add(self, other: Collected) -> None:
        """Count what another collection did too."""
        self.manifests += other.manifests
        self.blobs += other.blobs
        self.files += other.files
        self.bytes += other.bytes
        self.examples = (self.examples + other.examples)[:EXAMPLES]

    def to_json(self) -> dict[str, Any]:
        """The result of the direct method ``collectGarbage``."""
        return {
            "dryRun": self.dry_run,
            "phase": self.phase.value if self.phase is not None else "done",
            "manifests": self.manifests,
            "blobs": self.blobs,
            "files": self.files,
            "bytes": self.bytes,
            "kept": {reason: count for reason, count in sorted(self.kept.items()) if count},
            "removed": list(self.examples),
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Collected:
        """What `to_json` wrote in the middle of a collection that a restart cut."""
        return cls(
            phase=Phase(kept["phase"]),
            manifests=kept["manifests"],
            blobs=kept["blobs"],
            files=kept["files"],
            bytes=kept["bytes"],
            kept=Counter(kept["kept"]),
            examples=list(kept["removed"]),
        )
