"""What the status page shows, as ``app`` gathers it: plain values, no part of the replica."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

Answer = Literal["true", "false", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong."""

    kind: str
    description: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncFacts:
    """Where syncing stands. The figures are those of the run under way."""

    running: bool = False
    paused: bool = False
    phase: str = "idle"
    images_done: int = 0
    images_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: int = 0
    seconds_left: int | None = None
    current: str | None = None
    next_start: datetime | None = None
    schedule: str = ""
    """In words; ``continuously`` where a sync may start at any time."""
    continuous: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFacts:
    """One repository of the site."""

    name: str
    tags: int
    bytes: int
    known: int = 0
    """Tags that the sync knows of: the parent's own, as far as they are in scope."""
    waiting: int = 0
    """Those of them that are not here as they should be."""
    held_back: int = 0
    """Those of them that are left as they are, for a reason that `explain` gives."""
    changed_at: datetime | None = None
    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentImage:
    """An image of the scope that is not here as it should be."""

    repository: str
    tag: str
    state: str
    reason: str | None = None
    detail: str | None = None
    bytes_missing: int | None = None
    older_held: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """The disk below the data folder, in bytes."""

    content: int = 0
    quota: int | None = None
    reserve: int = 0
    free: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One sync of the past."""

    trigger: str
    state: str
    started_at: datetime
    ended_at: datetime | None = None
    images: int = 0
    failed: int = 0
    bytes: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushFacts:
    """Pushes on their way to the parent."""

    waiting: int = 0
    failed: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFacts:
    """Bytes that moved on one day, in UTC."""

    day: date
    received: int = 0
    served: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """One look at the whole site."""

    name: str
    version: str
    now: datetime
    mode: str = "ReadOnly"
    parent: str | None = None
    online: bool | None = None
    """None: never tried."""
    link_since: datetime | None = None
    """When the parent became reachable, or stopped being so."""
    troubles: tuple[Trouble, ...] = ()
    in_sync: Answer = "unknown"
    in_sync_as_of: datetime | None = None
    missing_images: int = 0
    missing_bytes: int = 0
    scope_empty: bool = False
    sync: SyncFacts = field(default_factory=SyncFacts)
    repositories: tuple[RepositoryFacts, ...] = ()
    absent: tuple[AbsentImage, ...] = ()
    absent_total: int = 0
    disk: DiskFacts = field(default_factory=DiskFacts)
    pushes: PushFacts = field(default_factory=PushFacts)
    runs: tuple[RunFacts, ...] = ()
    certificate_expires: datetime | None = None
    tls: bool = False
    traffic: tuple[DayFacts, ...] = ()
    """Consecutive days, the oldest first, today last."""
    actions: frozenset[str] = frozenset()
    """Names of the methods that this replica can carry out now."""
