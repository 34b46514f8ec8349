from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.endpoint.page import words

NOW = datetime(2026, 11, 23, 16, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_500_000, "1.5 MB"),
        (41 * 10**9, "41.0 GB"),
        (2 * 10**18, "2000.0 PB"),
    ],
)
def test_sizes_are_decimal(count: int, text: str) -> None:
    """As disks are labelled, and never ``1000.0`` of a unit that has a next one."""
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (187, "3 min 7 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
        (36_000, "10 hours"),
        (200_000, "2 days"),
    ],
)
def test_spans_have_two_units_at_most(seconds: float, text: str) -> None:
    """What is left of a sync, and how long one took."""
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (NOW, "just now"),
        (NOW + timedelta(hours=1), "just now"),
        (NOW - timedelta(seconds=59), "just now"),
        (NOW - timedelta(minutes=1), "1 minute ago"),
        (NOW - timedelta(minutes=119), "1 hour ago"),
        (NOW - timedelta(days=41), "41 days ago"),
    ],
)
def test_the_past_has_one_unit(then: datetime, text: str) -> None:
    """A moment in the future, as a wrong clock makes one, is now."""
    assert words.ago(then, NOW) == text


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (NOW.replace(hour=9, minute=5), "09:05 UTC"),
        (NOW.replace(day=2), "2 Nov, 16:40 UTC"),
        (NOW.replace(year=2027), "23 Nov 2027, 16:40 UTC"),
    ],
)
def test_moments_say_no_more_of_the_date_than_is_needed(then: datetime, text: str) -> None:
    """Always with the zone."""
    assert words.moment(then, NOW) == text


@given(st.floats(min_value=0, max_value=1e18))
def test_any_size_and_span_can_be_told(number: float) -> None:
    """Without an error, in a few characters."""
    assert 0 < len(words.size(number)) < 12
    assert 0 < len(words.span(number)) < 22
