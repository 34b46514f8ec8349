"""Bars of an inline SVG chart: numbers in, coordinates and words out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from connected_registry.endpoint.page import words

WIDTH: Final = 300
HEIGHT: Final = 64


@dataclass(frozen=True, slots=True)
class Bar:
    """One day, in the chart's units."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A titled row of bars; ``summary`` says the same in a sentence."""

    title: str
    summary: str
    bars: tuple[Bar, ...]
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def busy(self) -> bool:
        """Whether there is anything to draw."""
        return any(bar.height for bar in self.bars)


def draw(title: str, days: Iterable[tuple[date, int]]) -> Chart:
    """One bar a day. A day with anything at all is seen, however small beside the largest."""
    values = list(days)
    most = max((value for _, value in values), default=0)
    step = WIDTH / max(len(values), 1)
    bars = []
    for index, (day, value) in enumerate(values):
        height = max(HEIGHT * value / most, 1.5) if value else 0.0
        bars.append(
            Bar(
                round(index * step + step * 0.12, 2),
                round(HEIGHT - height, 2),
                round(step * 0.76, 2),
                round(height, 2),
                f"{_day(day)}: {words.size(value)}",
            )
        )
    return Chart(
        title,
        _summary(values, most),
        tuple(bars),
        _day(values[0][0]) if values else "",
        "today" if values else "",
    )


def _summary(values: list[tuple[date, int]], most: int) -> str:
    if not most:
        return f"nothing in {len(values)} days" if values else "nothing yet"
    total = words.size(sum(value for _, value in values))
    busiest = next(day for day, value in values if value == most)
    return f"{total} in {len(values)} days, most on {_day(busiest)} ({words.size(most)})"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
