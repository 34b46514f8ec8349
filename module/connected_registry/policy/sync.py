"""How, when and how fast content comes down from the parent: the twin's ``sync``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, field_validator

from connected_registry.policy.model import MAX_BYTES, ContractModel, Cron, Duration, Word
from connected_registry.policy.schedule import CONTINUOUS, Schedule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ByteBudget(ContractModel):
    """At most ``bytes`` from the parent in every ``per``; buckets are aligned to the Unix epoch."""

    bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)] = Field(
        description="at most so many from the parent"
    )
    per: Duration = Field(timedelta(days=1), description="in this time")

    @field_validator("per")
    @classmethod
    def _at_least_a_minute(cls, per: timedelta) -> timedelta:
        if per < timedelta(minutes=1):
            raise ValueError("must be at least one minute, such as 'PT1H' or 'P1D'")
        return per

    def bucket_start(self, now: datetime) -> datetime:
        """The start of the bucket that ``now`` falls into."""
        return now.astimezone(UTC) - (now - _EPOCH) % self.per

    def bucket_end(self, now: datetime) -> datetime:
        """When the next bucket starts, and with it a fresh budget."""
        return self.bucket_start(now) + self.per


class Conflicts(Word):
    """Whose digest a tag keeps that was changed on site and at the parent."""

    PARENT = "parent"
    SITE = "site"
    KEEP_BOTH = "keepBoth"


class SyncPolicy(ContractModel):
    """The twin's ``sync``. Rates are bytes a second."""

    schedule: Cron = Field(
        CONTINUOUS,
        description="when syncs start: cron with five fields, UTC; `* * * * *` is always",
    )
    window: Duration | None = Field(
        None, description="how long from each start a sync may run; null: until it is done"
    )
    message_ttl: Duration = Field(
        timedelta(days=2), description="how long a change may wait to be carried to the parent"
    )
    paused: bool = Field(False, description="whether syncs are held back")
    concurrency: Annotated[int, Field(ge=1, le=32)] = Field(3, description="downloads at a time")
    max_bytes_per_second: Annotated[int, Field(ge=1, le=MAX_BYTES)] | None = Field(
        None, description="rate limit towards the parent"
    )
    byte_budget: ByteBudget | None = Field(None, description="limit of bytes in a time")
    max_delete_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        50, description="a sync that would remove more of the tags than this removes none"
    )
    conflicts: Annotated[Conflicts, Field(strict=False)] = Field(
        Conflicts.PARENT,
        description="who keeps a tag that was changed here and at the parent; `keepBoth`: each its"
        " own",
    )

    @field_validator("window")
    @classmethod
    def _window_opens(cls, window: timedelta | None) -> timedelta | None:
        if window == timedelta(0):
            raise ValueError("must be longer than 'PT0S'; set it to null to have no window")
        return window

    @property
    def timetable(self) -> Schedule:
        """Schedule and window together."""
        return Schedule(self.schedule, self.window)
