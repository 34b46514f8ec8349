"""Storage, garbage collection, logging and telemetry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from connected_registry.policy.model import ContractModel
from connected_registry.policy.storage import (
    AuditLogStatus,
    Eviction,
    GarbageCollection,
    Logging,
    LogLevel,
    StoragePolicy,
    Telemetry,
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (StoragePolicy, {"quotaBytes": None, "reserveBytes": 2**30, "eviction": "none"}),
        (GarbageCollection, {"enabled": True, "schedule": "0 0 * * *"}),
        (Logging, {"logLevel": "Information", "auditLogStatus": "Enabled"}),
        (Telemetry, {"interval": "PT15M", "events": ["*"]}),
    ],
)
def test_the_defaults_are_the_contract_s(
    model: type[ContractModel], expected: dict[str, Any]
) -> None:
    """Without any setting the contract's defaults hold."""
    assert model.model_validate({}).model_dump(mode="json") == expected


@pytest.mark.parametrize(
    ("model", "document", "sentence"),
    [
        (StoragePolicy, {"quotaBytes": "10 GB"}, "valid integer"),
        (StoragePolicy, {"reserveBytes": -1}, "greater than or equal to 0"),
        (StoragePolicy, {"eviction": "oldest"}, "'none' or 'leastRecentlyPulled'"),
        (StoragePolicy, {"eviction": 1}, "'none' or 'leastRecentlyPulled'"),
        (GarbageCollection, {"enabled": 1}, "valid boolean"),
        (GarbageCollection, {"schedule": "nightly"}, "five-field cron expression"),
        (Logging, {"logLevel": "Verbose"}, "'Debug', 'Information', 'Warning'"),
        (Logging, {"auditLogStatus": True}, "'Enabled' or 'Disabled'"),
        (Telemetry, {"interval": 15}, "ISO 8601 duration"),
        (
            Telemetry,
            {"events": ["image available"]},
            "'image available' must be the name of an event",
        ),
    ],
)
def test_wrong_settings_are_refused(
    model: type[ContractModel], document: dict[str, Any], sentence: str
) -> None:
    """The refusal is at the key and says what would be right."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    (error,) = caught.value.errors()
    assert error["loc"][0] in document
    assert sentence in error["msg"]


def test_words_are_read_in_any_case() -> None:
    """Azure's own tools are not particular about case."""
    assert Logging.model_validate({"logLevel": "debug"}).log_level is LogLevel.DEBUG
    audit = Logging.model_validate({"auditLogStatus": "DISABLED"})
    assert audit.audit_log_status is AuditLogStatus.DISABLED
    evicting = StoragePolicy.model_validate({"eviction": "LeastRecentlyPulled"})
    assert evicting.eviction is Eviction.LEAST_RECENTLY_PULLED


def test_garbage_is_collected_on_a_schedule() -> None:
    """The timetable has the schedule and no window."""
    timetable = GarbageCollection.model_validate({"schedule": "0 4 * * *"}).timetable
    assert (timetable.cron, timetable.window) == ("0 4 * * *", None)


def test_events_are_chosen_by_name() -> None:
    """A star means all; otherwise only what is listed, and an empty list nothing."""
    assert Telemetry().sends("imageAvailable")
    some = Telemetry.model_validate({"interval": "PT0S", "events": ["usage"]})
    assert some.interval == timedelta(0)
    assert some.sends("usage")
    assert not some.sends("imageAvailable")
    assert not Telemetry(events=()).sends("usage")
