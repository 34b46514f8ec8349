"""The strict model that every part of the contract is made of, and its types."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connected_registry.policy.model import (
    MAX_BYTES,
    MAX_DURATION,
    MAX_ITEMS,
    Bytes,
    ContractModel,
    Cron,
    Duration,
    Items,
    Moment,
    check_cron,
    format_duration,
    format_moment,
    parse_duration,
    parse_moment,
)


class Example(ContractModel):
    """One field of each kind."""

    max_size: Bytes = 7
    is_on: bool = True
    how_long: Duration = timedelta(hours=1)
    until: Moment | None = None
    when: Cron = "0 3 * * *"
    words: Items[str] = ("a",)


def complaint(document: dict[str, Any]) -> str:
    """The one sentence with which ``document`` is refused, after its place."""
    with pytest.raises(ValidationError) as caught:
        Example.model_validate(document)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def test_keys_are_camel_case_outside() -> None:
    """A document with the contract's names is read and written back the same."""
    document = {
        "maxSize": 5,
        "isOn": False,
        "howLong": "P1DT2H3M4S",
        "until": "2030-01-31T12:00:00Z",
        "when": "5 4 * * MON",
        "words": ["b", "c"],
    }
    example = Example.model_validate(document)
    assert example.how_long == timedelta(days=1, hours=2, minutes=3, seconds=4)
    assert example.words == ("b", "c")
    assert example.model_dump(mode="json") == document


def test_null_returns_to_the_default() -> None:
    """A key set to null is as good as absent."""
    nulls = dict.fromkeys(("maxSize", "isOn", "howLong", "until", "when", "words"))
    assert Example.model_validate(nulls) == Example()


def test_unknown_keys_are_kept_for_a_warning() -> None:
    """What nobody knows is no error, and can be found."""
    assert Example.model_validate({"colour": "red"}).model_extra == {"colour": "red"}


def test_a_model_is_a_frozen_value() -> None:
    """Equal documents give equal models, which hash alike and cannot be changed."""
    example = Example.model_validate({"maxSize": 5})
    assert {example} == {Example(max_size=5)}
    with pytest.raises(ValidationError):
        example.max_size = 6  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("maxSize", "5", "valid integer"),
        ("maxSize", True, "valid integer"),
        ("maxSize", 5.0, "valid integer"),
        ("maxSize", -1, "greater than or equal to 0"),
        ("maxSize", MAX_BYTES + 1, "less than or equal to"),
        ("isOn", "true", "valid boolean"),
        ("isOn", 1, "valid boolean"),
        ("howLong", 5, "ISO 8601 duration such as"),
        ("howLong", "1:00:00", "ISO 8601 duration such as"),
        ("until", "2030-01-31", "RFC 3339 time such as"),
        ("until", 5, "RFC 3339 time such as"),
        ("when", "* * * * * *", "five-field cron expression in UTC such as '0 3 * * *'"),
        ("when", 5, "valid string"),
        ("words", "abc", "must be an array"),
        ("words", {"0": "a"}, "must be an array"),
        ("words", ["a"] * (MAX_ITEMS + 1), "at most 1000 items"),
    ],
)
def test_wrong_values_are_refused_by_key(key: str, value: object, sentence: str) -> None:
    """Nothing is coerced, and the refusal says where and what would be right."""
    message = complaint({key: value})
    assert message.startswith(f"{key}: ")
    assert sentence in message


def test_a_wrong_item_is_refused_by_its_place() -> None:
    """An error in a list names the item."""
    assert complaint({"words": ["a", None]}).startswith("words.1: Input should be a valid string")


def test_the_schema_says_what_the_model_does() -> None:
    """The generated JSON Schema has the outer names, the formats and the bounds."""
    schema = Example.model_json_schema()["properties"]
    assert schema["howLong"]["format"] == "duration"
    assert schema["words"]["maxItems"] == MAX_ITEMS
    assert schema["maxSize"]["maximum"] == MAX_BYTES


def test_what_is_no_object_is_refused() -> None:
    """A list where an object belongs is an error like any other."""
    with pytest.raises(ValidationError):
        Example.model_validate([])


@given(st.timedeltas(timedelta(0), MAX_DURATION).map(lambda d: d - d % timedelta(seconds=1)))
def test_durations_are_read_back_as_written(duration: timedelta) -> None:
    """Any whole number of seconds survives being written and read."""
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT0S", timedelta(0)),
        ("P2D", timedelta(days=2)),
        ("P1W", timedelta(weeks=1)),
        ("PT90M", timedelta(minutes=90)),
        ("P0DT0H", timedelta(0)),
        ("PT36H", timedelta(hours=36)),
        (timedelta(hours=3), timedelta(hours=3)),
    ],
)
def test_durations_of_every_unit(text: object, duration: timedelta) -> None:
    """Weeks, days, hours, minutes and seconds are understood."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "P1Y",
        "P1M",
        "-P1D",
        "P-1D",
        "p1d",
        "P1.5D",
        "PT1.5S",
        "P1W1D",
        "1D",
        "P١D",
    ],
)
def test_other_texts_are_no_duration(text: str) -> None:
    """Years, months, signs, fractions and halves of a form are refused with examples."""
    with pytest.raises(ValueError, match="must be an ISO 8601 duration such as 'PT4H'"):
        parse_duration(text)


@pytest.mark.parametrize("value", ["P3651D", "PT999999999H", timedelta(seconds=-1)])
def test_durations_are_bounded(value: object) -> None:
    """What would overflow a date is refused before it can."""
    with pytest.raises(ValueError, match="between 'PT0S' and 'P3650D'"):
        parse_duration(value)


@given(st.datetimes(timezones=st.just(UTC)).map(lambda d: d.replace(microsecond=0)))
def test_moments_are_read_back_as_written(moment: datetime) -> None:
    """Any time to the second survives being written and read."""
    assert parse_moment(format_moment(moment.replace(year=max(moment.year, 1000)))) == (
        moment.replace(year=max(moment.year, 1000))
    )


@pytest.mark.parametrize(
    "value",
    [
        "2030-01-31T13:00:00+01:00",
        "2030-01-31t12:00:00z",
        "2030-01-31T12:00:00.000Z",
        datetime(2030, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_moments_become_utc(value: object) -> None:
    """Whatever the offset, the time is kept in UTC."""
    moment = parse_moment(value)
    assert moment == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2030-01-31T12:00:00",
        "2030-01-31 12:00:00Z",
        "2030-13-31T12:00:00Z",
        "2030-01-31T25:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "20300131T120000Z",
        None,
        datetime(2030, 1, 31),  # noqa: DTZ001 - the point of the test
    ],
)
def test_other_values_are_no_moment(value: object) -> None:
    """A time without an offset or a date that does not exist is refused with an example."""
    with pytest.raises(ValueError, match="must be an RFC 3339 time such as"):
        parse_moment(value)


@pytest.mark.parametrize(
    "text", ["* * * * *", "*/5 0-6,22-23 * * *", "0 0 L * *", "0 0 29 2 *", "0 0 * JAN mon#2"]
)
def test_cron_expressions_of_five_fields_pass(text: str) -> None:
    """Ranges, lists, steps and names are all taken."""
    assert check_cron(text) == text


def test_blanks_in_cron_do_not_matter() -> None:
    """Fields come back with one space between them."""
    assert check_cron(" 0  3\t* * * ") == "0 3 * * *"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a b c d e",
        "0 0 30 2 *",
        "٠ * * * *",
        "1" * 150 + " * * * *",
        "0 " * 200,
        "* * * * L/2",
        "* * * * 1#6",
        ", * * * *",
        "*/" + "9" * 100 + "x * * * *",
    ],
)
def test_other_cron_expressions_are_refused(text: str) -> None:
    """Anything else, also a date that never comes, is refused with an example."""
    with pytest.raises(ValueError, match="must be a five-field cron expression in UTC such as"):
        check_cron(text)


def test_a_date_that_never_comes_is_named_as_such() -> None:
    """An expression that is well formed and never due is no schedule."""
    with pytest.raises(ValueError, match="never comes"):
        check_cron("0 0 */30 * SUN#2")


@given(st.text(st.sampled_from("*/-,#LW0123456789MONJAN ²"), max_size=30))
def test_no_cron_text_breaks_the_check(text: str) -> None:
    """Any text is an expression that comes due or is refused."""
    try:
        assert len(check_cron(text).split()) == 5
    except ValueError as error:
        assert "such as '0 3 * * *'" in str(error)  # noqa: PT017 - either outcome is right
