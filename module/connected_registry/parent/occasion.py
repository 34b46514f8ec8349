"""When the next sync is due: pure decisions from the policy, the clock and what happened before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from connected_registry.policy.schedule import ALWAYS
from connected_registry.policy.sync import SyncPolicy

FIRST_BACKOFF: Final = timedelta(seconds=5)
LONGEST_BACKOFF: Final = timedelta(minutes=2)
LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
"""A parent may ask for more patience than this and does not get it."""


class Trigger(StrEnum):
    """Why a sync runs; the names of Azure's ``connectedRegistries`` resource and ours."""

    INITIAL = "InitialSync"
    SCHEDULE = "Schedule"
    MANUAL = "ManualResync"
    SYNC_TOKEN = "SyncTokenUpdate"  # noqa: S105 - a trigger's name
    SCOPE = "ScopeUpdate"
    RECOVERY = "RecoveryService"


@dataclass(frozen=True, slots=True)
class Due:
    """Sync now."""

    trigger: Trigger
    deadline: datetime | None = None
    """The end of the window; None when nothing ends the run."""
    resync: bool = False
    """Compare everything again instead of trusting what was recorded."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``, unless something changes."""

    until: datetime
    reason: str
    """schedule, paused or backoff."""


@dataclass(frozen=True, slots=True)
class History:
    """What the decision rests on."""

    last_success: datetime | None = None
    """When the last sync that ended well had begun, in this process or an earlier one."""
    last_attempt: datetime | None = None
    """When the last sync of this process began, however it ended."""
    backoff: timedelta = timedelta()
    """How long the parent is still to be left alone."""


def decide(
    now: datetime, policy: SyncPolicy, history: History, *, paused: bool = False
) -> Due | Wait:
    """Whether a sync is due, and if not, when to ask again.

    A schedule is due once an occurrence, at its start or later while its window is open: also
    after downtime, and again after a failure. A clock that jumped back makes past times lie in
    the future; those count for nothing.
    """
    if paused or policy.paused:
        return Wait(ALWAYS, "paused")
    if history.backoff > timedelta():
        return Wait(now + history.backoff, "backoff")
    timetable = policy.timetable
    if timetable.continuous:
        last = _past(history.last_attempt, now)
        if last is not None and now < (due := timetable.next_start(last)):
            return Wait(due, "schedule")
        return _due(now, policy, history)
    closes = timetable.closes_at(now)
    last = _past(history.last_success, now)
    if closes is not None and (last is None or last < timetable.last_start(now)):
        return _due(now, policy, history, deadline=None if closes == ALWAYS else closes)
    return Wait(timetable.next_start(now), "schedule")


def _due(
    now: datetime, policy: SyncPolicy, history: History, deadline: datetime | None = None
) -> Due:
    if history.last_success is None:
        return Due(Trigger.INITIAL, deadline)
    if now - history.last_success > policy.message_ttl:
        # What was missed for so long is not trusted to add up: everything is compared again.
        return Due(Trigger.RECOVERY, deadline, resync=True)
    return Due(Trigger.SCHEDULE, deadline)


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment is not None and moment <= now else None


def backoff(
    failures: int,
    retry_after: float | None = None,
    *,
    spread: Callable[[], float] = random.random,
) -> timedelta:
    """How long to wait after the ``failures``-th failure in a row, counted from 1.

    It doubles up to a limit; ``spread`` (0 to 1) takes up to half of it away, so that a fleet does
    not come back in step. The parent's own Retry-After (seconds) is never undercut, within reason.
    """
    doublings = min(max(failures - 1, 0), 16)
    longest = min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)
    delay = longest * (1 - spread() / 2)
    if retry_after is not None:
        asked = timedelta(seconds=min(max(retry_after, 0.0), LONGEST_RETRY_AFTER.total_seconds()))
        delay = max(delay, asked)
    return delay
