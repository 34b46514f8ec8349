"""The twin's ``sync``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connected_registry.policy.sync import ByteBudget, SyncPolicy

NOW = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2060, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
PERIODS = st.integers(1, 60 * 24 * 40).map(lambda minutes: timedelta(minutes=minutes))


def test_the_defaults_are_the_contract_s() -> None:
    """Without any setting the sync is continuous and unlimited."""
    policy = SyncPolicy.model_validate({})
    assert policy.timetable.continuous
    assert policy.model_dump(mode="json") == {
        "schedule": "* * * * *",
        "window": None,
        "messageTtl": "P2D",
        "paused": False,
        "concurrency": 3,
        "maxBytesPerSecond": None,
        "byteBudget": None,
        "maxDeletePercent": 50,
        "conflicts": "parent",
    }


def test_settings_up_to_the_bounds_are_taken() -> None:
    """The least and the most of each number are both allowed."""
    least = {"concurrency": 1, "maxBytesPerSecond": 1, "maxDeletePercent": 0}
    most = {"concurrency": 32, "maxBytesPerSecond": 2**63 - 1, "maxDeletePercent": 100}
    for document in (least, most):
        written = SyncPolicy.model_validate(document).model_dump(mode="json")
        assert document.items() <= written.items()


def test_schedule_and_window_go_together() -> None:
    """The timetable has both."""
    policy = SyncPolicy.model_validate({"schedule": "0 3 * * *", "window": "PT4H"})
    assert (policy.timetable.cron, policy.timetable.window) == ("0 3 * * *", timedelta(hours=4))


@pytest.mark.parametrize(
    ("document", "place", "sentence"),
    [
        ({"schedule": "daily"}, "schedule", "must be a five-field cron expression"),
        ({"window": "PT0S"}, "window", "must be longer than 'PT0S'"),
        ({"window": "4h"}, "window", "must be an ISO 8601 duration"),
        ({"messageTtl": 2}, "messageTtl", "must be an ISO 8601 duration"),
        ({"paused": "no"}, "paused", "valid boolean"),
        ({"concurrency": 0}, "concurrency", "greater than or equal to 1"),
        ({"concurrency": 33}, "concurrency", "less than or equal to 32"),
        ({"maxBytesPerSecond": 0}, "maxBytesPerSecond", "greater than or equal to 1"),
        ({"byteBudget": 5}, "byteBudget", "valid dictionary"),
        ({"byteBudget": {}}, "byteBudget.bytes", "Field required"),
        ({"byteBudget": {"bytes": 0}}, "byteBudget.bytes", "greater than or equal to 1"),
        ({"byteBudget": {"bytes": 1, "per": "PT59S"}}, "byteBudget.per", "at least one minute"),
        ({"maxDeletePercent": 101}, "maxDeletePercent", "less than or equal to 100"),
    ],
)
def test_a_wrong_setting_is_refused_by_key(
    document: dict[str, Any], place: str, sentence: str
) -> None:
    """The refusal names the key and says what would be right."""
    with pytest.raises(ValidationError) as caught:
        SyncPolicy.model_validate(document)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert sentence in error["msg"]


@given(NOW, PERIODS)
def test_a_moment_lies_in_exactly_one_bucket(now: datetime, per: timedelta) -> None:
    """Buckets follow each other without a gap, and start at multiples of their length."""
    budget = ByteBudget(bytes=1, per=per)
    start = budget.bucket_start(now)
    assert start <= now < budget.bucket_end(now) == start + per
    assert (start - datetime(1970, 1, 1, tzinfo=UTC)) % per == timedelta(0)
    assert budget.bucket_start(start) == start
    assert budget.bucket_start(budget.bucket_end(now)) == start + per


def test_a_day_s_budget_starts_at_midnight() -> None:
    """Buckets of a day are days in UTC."""
    budget = ByteBudget(bytes=1)
    noon = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
    assert budget.bucket_start(noon) == datetime(2024, 5, 1, tzinfo=UTC)
