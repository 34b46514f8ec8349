"""When syncs start and until when they may run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.policy.schedule import ALWAYS, Schedule

CRONS = st.sampled_from(
    [
        "0 3 * * *",
        "*/15 * * * *",
        "30 22 * * MON-FRI",
        "0 0 1 * *",
        "0 0 29 2 *",
        "5,35 0-6,22-23 * * *",
        "0 12 L * *",
        "0 4 * * 7#1",
        "59 23 31 12 *",
    ]
)
NOW = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
WINDOWS = st.sampled_from([timedelta(minutes=m) for m in (1, 14, 15, 60, 240, 1500)])


@given(CRONS, NOW)
def test_the_next_start_is_the_first_one_after_now(cron: str, now: datetime) -> None:
    """It lies strictly after now, on a whole minute, and no occurrence lies between."""
    schedule = Schedule(cron)
    start = schedule.next_start(now)
    assert start > now
    assert (start.second, start.microsecond, start.tzinfo) == (0, 0, UTC)
    assert schedule.last_start(start - timedelta(seconds=1)) <= now


@given(CRONS, NOW)
def test_the_last_start_is_the_last_one_until_now(cron: str, now: datetime) -> None:
    """It lies at or before now, and at an occurrence it is that occurrence."""
    schedule = Schedule(cron)
    last = schedule.last_start(now)
    assert last <= now < schedule.next_start(last) or schedule.next_start(last) > now
    assert schedule.last_start(last) == last


@given(CRONS, NOW, WINDOWS)
def test_a_window_is_open_from_its_start_until_it_closes(
    cron: str, now: datetime, window: timedelta
) -> None:
    """Open means that an occurrence is less than a window ago, and it closes a window later."""
    schedule = Schedule(cron, window)
    closes = schedule.closes_at(now)
    is_open = now < schedule.last_start(now) + window
    assert (closes is not None) is is_open
    if closes is not None and closes - now < timedelta(days=2):
        assert closes > now
        assert schedule.closes_at(closes - timedelta(microseconds=1)) == closes
        assert schedule.closes_at(closes) is None
        assert closes == schedule.last_start(closes) + window


@given(CRONS, NOW, WINDOWS)
def test_every_start_opens_the_window(cron: str, now: datetime, window: timedelta) -> None:
    """At an occurrence the window is open for at least its length."""
    schedule = Schedule(cron, window)
    start = schedule.next_start(now)
    closes = schedule.closes_at(start)
    assert closes is not None
    assert closes >= start + window


def test_a_nightly_window() -> None:
    """Four hours from three o'clock."""
    schedule = Schedule("0 3 * * *", timedelta(hours=4))
    day = datetime(2024, 5, 1, tzinfo=UTC)
    assert schedule.closes_at(day.replace(hour=2, minute=59)) is None
    assert schedule.closes_at(day.replace(hour=3)) == day.replace(hour=7)
    assert schedule.closes_at(day.replace(hour=6, minute=59)) == day.replace(hour=7)
    assert schedule.closes_at(day.replace(hour=7)) is None
    assert not schedule.continuous


def test_windows_that_touch_are_one() -> None:
    """Hours joined to a night close in the morning."""
    schedule = Schedule("0 22-23,0-5 * * *", timedelta(hours=1))
    evening = datetime(2024, 5, 1, 22, 30, tzinfo=UTC)
    assert schedule.closes_at(evening) == datetime(2024, 5, 2, 6, tzinfo=UTC)


def test_windows_that_always_overlap_stay_open() -> None:
    """Where the next window opens before the last one closes, the end lies far away."""
    schedule = Schedule("0 * * * *", timedelta(hours=2))
    now = datetime(2024, 5, 1, tzinfo=UTC)
    closes = schedule.closes_at(now)
    assert closes is not None
    assert closes > now + timedelta(days=7)


@pytest.mark.parametrize("cron", ["* * * * *", "*/1 * * * *", " *  * * * * "])
@pytest.mark.parametrize("window", [None, timedelta(hours=1)])
def test_every_minute_means_always(cron: str, window: timedelta | None) -> None:
    """A continuous schedule never closes, whatever its window."""
    schedule = Schedule(cron, window)
    assert schedule.continuous
    assert schedule.closes_at(datetime(2024, 5, 1, tzinfo=UTC)) == ALWAYS
    assert schedule.describe() == "continuously"


def test_without_a_window_nothing_closes() -> None:
    """What was started may run until it is done."""
    assert Schedule("0 3 * * *").closes_at(datetime(2024, 5, 1, tzinfo=UTC)) == ALWAYS


def test_times_of_other_zones_mean_the_same_moment() -> None:
    """The schedule is in UTC whatever the zone of the time asked about."""
    schedule = Schedule("0 3 * * *")
    now = datetime(2024, 5, 1, 4, 30, tzinfo=timezone(timedelta(hours=2)))
    assert schedule.next_start(now) == datetime(2024, 5, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "window", "sentence"),
    [
        ("0 3 * * *", None, "at 03:00 every day UTC (0 3 * * *), until done"),
        ("0 3 * * *", timedelta(hours=4), "at 03:00 every day UTC (0 3 * * *), for PT4H"),
    ],
)
def test_a_schedule_can_be_told_to_people(
    cron: str, window: timedelta | None, sentence: str
) -> None:
    """The description has the words, the expression and the window."""
    assert Schedule(cron, window).describe() == sentence


@given(CRONS)
def test_every_schedule_can_be_described(cron: str) -> None:
    """No expression that passes is without a description."""
    assert cron in Schedule(cron).describe()


@pytest.mark.parametrize("window", [timedelta(0), timedelta(hours=-1)])
def test_a_window_has_a_length(window: timedelta) -> None:
    """A window that never opens is refused, not obeyed."""
    with pytest.raises(ValueError, match="window must be longer"):
        Schedule("0 3 * * *", window)


def test_the_expression_is_checked() -> None:
    """A schedule is made of a valid expression or not at all."""
    with pytest.raises(ValueError, match="five-field"):
        Schedule("0 3 * * * *")
