"""The desired properties."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge.twin import Desired, strip, version_of
from connected_registry.errors import TwinInvalid
from connected_registry.policy.mode import Mode
from connected_registry.policy.password import hash_password

HASH = hash_password("correct horse")

FULL: dict[str, Any] = {
    "$version": 4,
    "$metadata": {"$lastUpdated": "2026-01-01T00:00:00Z"},
    "schemaVersion": "1.0",
    "mode": "ReadWrite",
    "parent": {"loginServer": "acme.azurecr.io", "protocol": "https", "sources": ["ship-b:8080"]},
    "scope": {
        "repositories": [
            {"name": "team/app", "tags": ["1.*"], "excludeTags": ["*-rc*"], "semver": "^1.2"},
            {"name": "base/*", "newest": 2, "platforms": ["linux/arm64/v8"], "priority": 5},
        ]
    },
    "sync": {
        "schedule": "0 3 * * *",
        "window": "PT4H",
        "messageTtl": "P7D",
        "paused": True,
        "concurrency": 5,
        "maxBytesPerSecond": 1000000,
        "byteBudget": {"bytes": 10000000, "per": "P1D"},
    },
    "clientTokens": [
        {
            "name": "line1",
            "scopeMap": "pullers",
            "passwords": [{"hash": HASH, "expiry": "2030-01-01T00:00:00Z"}],
        }
    ],
    "scopeMaps": [{"name": "pullers", "actions": ["repositories/team/app/content/read"]}],
    "anonymousPull": True,
    "garbageCollection": {"enabled": False, "schedule": "0 1 * * 0"},
    "storage": {"quotaBytes": 10**10, "reserveBytes": 0, "eviction": "leastRecentlyPulled"},
    "notifications": ["team/*:*"],
    "logging": {"logLevel": "Debug", "auditLogStatus": "Disabled"},
    "telemetry": {"interval": "PT0S", "events": ["usage"]},
}


def _token(**changes: Any) -> dict[str, Any]:
    return {"clientTokens": [{"name": "a", "scopeMap": "_repositories_pull", **changes}]}


def test_defaults_are_the_contract_s() -> None:
    """An empty document is a ReadOnly replica that syncs nothing, continuously."""
    desired, warnings = Desired.parse({})
    assert warnings == ()
    assert desired.mode is Mode.READ_ONLY
    assert desired.scope.repositories == ()
    assert (desired.sync.schedule, desired.sync.concurrency) == ("* * * * *", 3)
    assert desired.sync.message_ttl == timedelta(days=2)
    assert desired.sync.max_delete_percent == 50
    assert desired.storage.reserve_bytes == 2**30
    assert desired.garbage_collection.schedule == "0 0 * * *"
    assert desired.logging.log_level == "Information"
    assert desired.logging.audit_log_status == "Enabled"
    assert desired.telemetry.interval == timedelta(minutes=15)
    assert (desired.anonymous_pull, desired.client_tokens) == (False, ())


def test_every_property_is_read() -> None:
    """A document that sets everything is accepted without a warning and round-trips."""
    desired, warnings = Desired.parse(FULL)
    assert warnings == ()
    written = desired.model_dump(mode="json", by_alias=True)
    again, _ = Desired.parse(written)
    assert again == desired
    assert desired.sync.window == timedelta(hours=4)
    assert desired.scope.repositories[1].platforms == ("linux/arm64/v8",)


def test_null_is_the_default_at_every_level() -> None:
    """Setting a property to null is as good as leaving it out."""
    document: dict[str, Any] = {
        "mode": None,
        "sync": {"schedule": None, "concurrency": None},
        "scope": {"repositories": [{"name": "a", "tags": None, "semver": None}]},
        "storage": None,
    }
    desired, warnings = Desired.parse(document)
    assert warnings == ()
    assert desired == Desired.parse({"scope": {"repositories": [{"name": "a"}]}})[0]


@pytest.mark.parametrize(
    ("written", "mode"),
    [("Mirror", "ReadOnly"), ("Registry", "ReadWrite"), ("readonly", "ReadOnly")],
)
def test_old_mode_names_are_taken(written: str, mode: str) -> None:
    """The names of the original's first releases mean what they meant."""
    assert Desired.parse({"mode": written})[0].mode == mode


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ([], "desired"),
        ("text", "desired"),
        ({"schemaVersion": "2.0"}, "schemaVersion"),
        ({"schemaVersion": 1}, "schemaVersion"),
        ({"schemaVersion": "2.0", "scope": "of another shape"}, "schemaVersion"),
        ({"mode": "Write"}, "mode"),
        ({"mode": 1}, "mode"),
        ({"anonymousPull": 1}, "anonymousPull"),
        ({"anonymousPull": "true"}, "anonymousPull"),
        ({"sync": {"schedule": "0 0 * * * *"}}, "sync.schedule"),
        ({"sync": {"schedule": "@daily"}}, "sync.schedule"),
        ({"sync": {"window": "-PT1H"}}, "sync.window"),
        ({"sync": {"window": "1:00:00"}}, "sync.window"),
        ({"sync": {"messageTtl": 5}}, "sync.messageTtl"),
        ({"sync": {"concurrency": "3"}}, "sync.concurrency"),
        ({"sync": {"concurrency": 0}}, "sync.concurrency"),
        ({"sync": {"concurrency": 3.0}}, "sync.concurrency"),
        ({"sync": {"byteBudget": {}}}, "sync.byteBudget.bytes"),
        ({"sync": []}, "sync"),
        ({"scope": {"repositories": {}}}, "scope.repositories"),
        ({"scope": {"repositories": ["a"]}}, "scope.repositories[0]"),
        ({"scope": {"repositories": [{"tags": ["*"]}]}}, "scope.repositories[0].name"),
        ({"scope": {"repositories": [{"name": "A"}]}}, "scope.repositories[0].name"),
        (
            {"scope": {"repositories": [{"name": "a"}, {"name": "b", "semver": "x y"}]}},
            "scope.repositories[1].semver",
        ),
        (
            {"scope": {"repositories": [{"name": "a", "tags": ["ok", 5]}]}},
            "scope.repositories[0].tags[1]",
        ),
        (
            {"scope": {"repositories": [{"name": "a", "tags": [None]}]}},
            "scope.repositories[0].tags[0]",
        ),
        ({"scope": {"repositories": [{"name": "a"}, {"name": "a"}]}}, "scope.repositories[1].name"),
        (_token(scopeMap="none"), "clientTokens[0].scopeMap"),
        (_token(status="on"), "clientTokens[0].status"),
        (_token(passwords=[{"hash": HASH}] * 3), "clientTokens[0].passwords"),
        (
            _token(passwords=[{"hash": HASH, "expiry": "soon"}]),
            "clientTokens[0].passwords[0].expiry",
        ),
        ({"scopeMaps": [{"name": "a"}, {"name": "a"}]}, "scopeMaps[1].name"),
        ({"scopeMaps": [{"name": "_repositories_pull"}]}, "scopeMaps[0].name"),
        ({"storage": {"reserveBytes": -1}}, "storage.reserveBytes"),
        ({"storage": {"quotaBytes": 2**60}}, "storage.quotaBytes"),
        ({"storage": {"eviction": "all"}}, "storage.eviction"),
        ({"notifications": ["nonsense"]}, "notifications[0]"),
        ({"logging": {"logLevel": "Trace"}}, "logging.logLevel"),
        ({"telemetry": {"events": "*"}}, "telemetry.events"),
        ({"parent": {"loginServer": "https://acme.azurecr.io"}}, "parent.loginServer"),
        ({"parent": {"sources": ["a b"]}}, "parent.sources[0]"),
        ({"parent": {"protocol": "ftp"}}, "parent.protocol"),
        ({"x.y": 1}, "x.y"),
    ],
)
def test_each_wrong_value_is_refused_with_its_path(document: Any, key: str) -> None:
    """The refusal names the whole path of the first wrong key and what would be right."""
    with pytest.raises(TwinInvalid) as caught:
        Desired.parse(document)
    assert caught.value.key == key
    assert caught.value.status == 400
    assert str(caught.value).startswith(f"{key}: ")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        _token(passwords=["hunter2"]),
        _token(passwords=[{"value": "hunter2"}]),
        _token(passwords=[{"hash": "hunter2"}]),
        _token(passwords=[{"hash": ["hunter2"]}]),
        _token(password="hunter2"),
        _token(passwords="hunter2"),
        {"parent": {"password": "hunter2"}},
        {"parent": {"loginServer": "user:hunter2@host"}},
        {"parent": {"loginServer": "https://user:hunter2@host"}},
        {"unknown": [{"deep": {"Password": "hunter2"}}]},
        {"connectionString": "SyncTokenPassword=hunter2"},
    ],
)
def test_plain_passwords_are_refused_and_not_repeated(document: dict[str, Any]) -> None:
    """A password in the twin is refused under whatever key, and no message holds it."""
    with pytest.raises(TwinInvalid) as caught:
        Desired.parse(document)
    error = caught.value
    assert "hunter2" not in f"{error} {error.key} {error.value!r} {error.remedy}"


def test_hashes_are_not_printed() -> None:
    """The hash of a password is no secret, and still no business of a log."""
    assert HASH not in repr(Desired.parse(FULL)[0])


def test_unknown_properties_are_ignored_with_a_warning() -> None:
    """What this release does not know changes nothing and is told with its neighbour."""
    document = {
        "anonymouspull": True,
        "sync": {"schedul": "x", "paused": True},
        "scope": {"repositories": [{"name": "a", "tag": ["x"]}]},
        "client_tokens": [],
    }
    desired, warnings = Desired.parse(document)
    known = {"sync": {"paused": True}, "scope": {"repositories": [{"name": "a"}]}}
    assert desired == Desired.parse(known)[0]
    assert sorted(sentence.split()[0] for sentence in warnings) == [
        "anonymouspull",
        "client_tokens",
        "scope.repositories[0].tag",
        "sync.schedul",
    ]
    assert any("did you mean anonymousPull?" in sentence for sentence in warnings)


def test_documents_over_the_hub_s_limit_are_refused() -> None:
    """A scope of 40 KB could not have come through a hub, and says what is largest."""
    rules = [{"name": f"team/app{n}", "tags": ["x" * 100]} for n in range(360)]
    with pytest.raises(TwinInvalid, match="32768") as caught:
        Desired.parse({"mode": "ReadOnly", "scope": {"repositories": rules}})
    assert caught.value.key == "scope"


def test_deep_documents_are_refused() -> None:
    """Ten levels are the most that a twin has; deeper ones do not even get looked at."""
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(TwinInvalid, match="10 levels"):
        Desired.parse({"unknown": deep})


def test_readwrite_may_not_turn_back_while_pushes_wait() -> None:
    """409 says how many pushes would be lost; without any, or the other way, all is well."""
    writing, reading = (Desired.parse({"mode": mode})[0] for mode in ("ReadWrite", "ReadOnly"))
    with pytest.raises(TwinInvalid, match="3 pushes") as caught:
        writing.check_change(reading, lambda: 3)
    assert (caught.value.status, caught.value.key) == (409, "mode")
    writing.check_change(reading, lambda: 0)
    reading.check_change(writing, lambda: 3)


@pytest.mark.parametrize(
    ("document", "version"),
    [({"$version": 3}, 3), ({}, None), ({"$version": "3"}, None), ({"$version": True}, None)],
)
def test_version_is_known_or_not(document: dict[str, Any], version: int | None) -> None:
    """Only a whole number is a version; without one the hub knows nothing."""
    assert version_of(document) == version


def test_the_hub_s_own_keys_are_stripped() -> None:
    """What begins with a dollar sign is the hub's."""
    assert strip({"$version": 1, "$metadata": {}, "mode": "x"}) == {"mode": "x"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4)
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from([*FULL, "other"]),
        json_values
        | st.dictionaries(
            st.sampled_from(["repositories", "schedule", "window", "byteBudget", "loginServer"]),
            json_values,
        ),
    )
)
def test_any_document_is_a_configuration_or_a_refusal(document: dict[str, Any]) -> None:
    """Whatever JSON arrives, the answer is a value or `TwinInvalid` with a sentence."""
    try:
        Desired.parse(document)
    except TwinInvalid as error:
        sentence = str(error)
    else:
        sentence = "accepted: fine"
    assert ": " in sentence
