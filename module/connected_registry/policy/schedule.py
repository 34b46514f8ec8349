"""When syncs start and until when they may run: a cron expression and a window, both in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cronsim import CronSim

from connected_registry.policy.model import check_cron, format_duration

CONTINUOUS: Final = "* * * * *"
"""The expression that means: always, as soon as there is something to do."""

ALWAYS: Final = datetime.max.replace(tzinfo=UTC)
"""The closing time of what never closes."""

_EVERY = {"*", "*/1"}
_MAX_CHAIN = 500


@dataclass(frozen=True, slots=True)
class Schedule:
    """Occurrences of ``cron``; each one opens ``window``, or leaves it open where that is None."""

    cron: str
    window: timedelta | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cron", check_cron(self.cron))
        if self.window is not None and self.window <= timedelta(0):
            raise ValueError("window must be longer than 'PT0S'; leave it out to have none")

    @property
    def continuous(self) -> bool:
        """Whether syncs may start at any time; the window then has no meaning."""
        return all(field in _EVERY for field in self.cron.split())

    def next_start(self, now: datetime) -> datetime:
        """The first occurrence strictly after ``now``."""
        return next(CronSim(self.cron, now.astimezone(UTC)))

    def last_start(self, now: datetime) -> datetime:
        """The last occurrence at or before ``now``."""
        just_after = now.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        return next(CronSim(self.cron, just_after, reverse=True))

    def closes_at(self, now: datetime) -> datetime | None:
        """When the window that is open at ``now`` closes; None where none is open.

        Windows that touch or overlap count as one. `ALWAYS` when continuous or without a window:
        what was started may then run until it is done.
        """
        if self.continuous or self.window is None:
            return ALWAYS
        closes = self.last_start(now) + self.window
        if closes <= now:
            return None
        upcoming = CronSim(self.cron, now.astimezone(UTC))
        for _ in range(_MAX_CHAIN):
            start = next(upcoming)
            if start > closes:
                return closes
            closes = max(closes, start + self.window)
        return closes

    def describe(self) -> str:
        """One sentence for people."""
        if self.continuous:
            return "continuously"
        when = CronSim(self.cron, datetime(2024, 1, 1, tzinfo=UTC)).explain()
        until = "until done" if self.window is None else f"for {format_duration(self.window)}"
        return f"{when[:1].lower()}{when[1:]} UTC ({self.cron}), {until}"
