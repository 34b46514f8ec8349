"""Sizes, spans and moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """``1.5 MB``: decimal units, as disks are labelled."""
    for unit in _UNITS:
        if abs(count) < 999.95 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def span(seconds: float) -> str:
    """The two largest units at most, rounded down: ``3 days``, ``1 h 5 min``, ``40 s``."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600, whole // 60
    if days >= 2:
        return f"{days} days"
    if hours >= 10:
        return f"{hours} hours"
    if hours:
        rest = minutes % 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    if minutes >= 10:
        return f"{minutes} min"
    if minutes:
        rest = whole % 60
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{whole} s"


def coarse(seconds: float) -> str:
    """One unit, and nothing below a minute: ``3 days``, ``5 hours``, ``40 minutes``."""
    whole = max(0, int(seconds))
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if whole >= length:
            number = whole // length
            return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
    return "less than a minute"


def ago(then: datetime, now: datetime) -> str:
    """``5 minutes ago``; ``just now`` below a minute and where clocks disagree."""
    seconds = (now - then).total_seconds()
    return "just now" if seconds < 60 else f"{coarse(seconds)} ago"


def moment(then: datetime, now: datetime) -> str:
    """``14:02 UTC`` today, ``22 Nov, 14:02 UTC`` this year, with the year in any other."""
    then, now = then.astimezone(UTC), now.astimezone(UTC)
    time = f"{then:%H:%M} UTC"
    if then.date() == now.date():
        return time
    day = f"{then.day} {then:%b}"
    return f"{day}, {time}" if then.year == now.year else f"{day} {then.year}, {time}"


def machine(then: datetime) -> str:
    """For ``<time datetime>``."""
    return f"{then.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 image``, ``3 images``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
