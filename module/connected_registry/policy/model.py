"""What every part of the desired configuration is made of: a strict, frozen model and its types.

Keys are camelCase outside and snake_case inside. A key set to null is as good as absent, so it
returns to its default. Keys nobody knows are kept in ``model_extra``, where `edge.twin` finds
what to warn of. No value is coerced: ``"3"`` and ``true`` are not numbers, ``3`` is not a text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self, TypeVar

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

MAX_BYTES: Final = 2**63 - 1
"""Largest size taken anywhere: what SQLite and every client's signed integer can hold."""

MAX_ITEMS: Final = 1000
"""Most items of one list."""

MAX_DURATION: Final = timedelta(days=3650)
"""Longest duration taken; far from where adding it to a date overflows."""

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,5})W"
    r"|(?=\d|T\d)(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9})S)?)?)",
    re.ASCII,
)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_CRON_REMEDY = "must be a five-field cron expression in UTC such as '0 3 * * *'"
_CRON_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


class ContractModel(BaseModel):
    """One object of the contract: frozen, strict, camelCase outside; equal by value."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="allow",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        validate_default=True,
        hide_input_in_errors=True,  # what was given may be a password in the wrong place
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Drop what is null, so that it takes its default."""
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


class Word(StrEnum):
    """One of a few words, taken in any case as Azure's own tools do."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, str):
            return next((word for word in cls if word.lower() == value.lower()), None)
        return None


def parse_duration(text: object) -> timedelta:
    """An ISO 8601 duration in weeks, or days, hours, minutes and whole seconds.

    Years and months are refused, their length being unknown. Raises `ValueError`.
    """
    if isinstance(text, timedelta):
        duration = text
    else:
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError("must be an ISO 8601 duration such as 'PT4H', 'P2D' or 'PT0S'")
        duration = timedelta(**{unit: int(n) for unit, n in found.groupdict("0").items()})
    if not timedelta(0) <= duration <= MAX_DURATION:
        raise ValueError(f"must be a duration between 'PT0S' and 'P{MAX_DURATION.days}D'")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest ISO 8601 form that `parse_duration` reads back, whole seconds only."""
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    days = f"{duration.days}D" if duration.days else ""
    return f"P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"


def parse_moment(text: object) -> datetime:
    """An RFC 3339 time as an aware UTC datetime. Raises `ValueError`."""
    remedy = "must be an RFC 3339 time such as '2030-01-31T12:00:00Z'"
    if isinstance(text, datetime):
        if text.tzinfo is None:
            raise ValueError(remedy)
        return text.astimezone(UTC)
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        raise ValueError(remedy)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(remedy) from None


def format_moment(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_cron(text: str) -> str:
    """A cron expression of exactly five fields that comes due at least once. Raises `ValueError`.

    Fields are joined by single spaces on return.
    """
    fields = text.split()
    if len(text) > 200 or len(fields) != 5 or not text.isascii():
        raise ValueError(_CRON_REMEDY)
    try:
        next(CronSim(" ".join(fields), _CRON_EPOCH))
    except StopIteration:
        raise ValueError("names a date that never comes; " + _CRON_REMEDY) from None
    except (CronSimError, ValueError, AssertionError) as error:
        # the library lets some malformed terms fall through to int() and to its own assertions
        reason = f" ({str(error).lower()})" if isinstance(error, CronSimError) else ""
        raise ValueError(_CRON_REMEDY + reason) from None
    return " ".join(fields)


def _array(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("must be an array, written in square brackets")
    return tuple(value)


Cron = Annotated[str, AfterValidator(check_cron)]
"""Five fields, UTC."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
"""ISO 8601, not negative."""

Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    PlainSerializer(format_moment, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339, aware UTC."""

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
"""A size or a rate in bytes."""

Item = TypeVar("Item")

Items = Annotated[tuple[Item, ...], Field(max_length=MAX_ITEMS), BeforeValidator(_array)]
"""A JSON array, kept as a tuple."""

Pair = Annotated[tuple[Item, ...], Field(max_length=2), BeforeValidator(_array)]
"""A JSON array of at most two."""
