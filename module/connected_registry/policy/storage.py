"""The smaller parts of the twin: storage, garbage collection, logging and telemetry."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field, field_validator

from connected_registry.policy.model import Bytes, ContractModel, Cron, Duration, Items, Word
from connected_registry.policy.schedule import Schedule

GIBIBYTE: Final = 2**30


class Eviction(Word):
    """What to give up when the quota is reached."""

    NONE = "none"
    LEAST_RECENTLY_PULLED = "leastRecentlyPulled"


class LogLevel(Word):
    """The least severe message that is logged."""

    DEBUG = "Debug"
    INFORMATION = "Information"
    WARNING = "Warning"
    ERROR = "Error"
    NONE = "None"


class AuditLogStatus(Word):
    """Whether accesses are logged."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class StoragePolicy(ContractModel):
    """How much disk may be used; ``reserve_bytes`` of the file system are always left free."""

    quota_bytes: Bytes | None = Field(
        None, description="most bytes of content; null: as many as fit"
    )
    reserve_bytes: Bytes = Field(GIBIBYTE, description="bytes of the disk that are left free")
    eviction: Annotated[Eviction, Field(strict=False)] = Field(
        Eviction.NONE, description="what may go when there is no room"
    )


class GarbageCollection(ContractModel):
    """When bytes that nothing names any more are removed."""

    enabled: bool = Field(True, description="whether it runs")
    schedule: Cron = Field("0 0 * * *", description="when: cron with five fields, UTC")

    @property
    def timetable(self) -> Schedule:
        """Its schedule; there is no window."""
        return Schedule(self.schedule)


class Logging(ContractModel):
    """What is logged."""

    log_level: Annotated[LogLevel, Field(strict=False)] = Field(
        LogLevel.INFORMATION, description="the least severe record that is written"
    )
    audit_log_status: Annotated[AuditLogStatus, Field(strict=False)] = Field(
        AuditLogStatus.ENABLED, description="whether accesses are recorded"
    )


class Telemetry(ContractModel):
    """Which events go to the hub, and how often a usage summary; ``PT0S`` turns that off."""

    interval: Duration = Field(
        timedelta(minutes=15), description="how often usage is summed up; `PT0S`: never"
    )
    events: Items[str] = Field(("*",), description="names of the events that are sent; `*` is all")

    @field_validator("events")
    @classmethod
    def _event_names(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        for event in events:
            if event != "*" and not (event.isascii() and event.isalpha() and len(event) <= 64):
                raise ValueError(
                    f"{event[:64]!r} must be the name of an event such as 'imageAvailable', or '*'"
                )
        return events

    def sends(self, event: str) -> bool:
        """Whether ``event`` is wanted."""
        return "*" in self.events or event in self.events
