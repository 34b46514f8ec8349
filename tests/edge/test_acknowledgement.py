"""Acknowledging desired properties."""

from __future__ import annotations

from typing import Any

import pytest

from connected_registry.edge.acknowledgement import (
    MAX_VALUE,
    Outcome,
    acknowledge,
    property_names,
    refuse,
)
from connected_registry.edge.patch import check_limits, same, twin_size, without_nulls
from connected_registry.edge.twin import Desired
from connected_registry.errors import TwinInvalid
from connected_registry.policy.password import hash_password


def _acknowledged(document: dict[str, Any], version: int | None = 7, **more: Any) -> dict[str, Any]:
    desired, warnings = Desired.parse(document)
    return acknowledge(document, desired, version, warnings=warnings, **more)


def test_each_property_is_answered_in_the_plug_and_play_form() -> None:
    """What was set is 200 with the document's version, what was not is 203 with version 0."""
    answer = _acknowledged({"mode": "Mirror", "sync": {"paused": True}})
    assert answer["mode"] == {"value": "ReadOnly", "ac": 200, "av": 7, "ad": "applied"}
    assert answer["sync"]["ac"] == 200
    assert answer["sync"]["value"]["paused"] is True
    assert (answer["storage"]["ac"], answer["storage"]["av"]) == (203, 0)
    assert set(property_names()) < set(answer)
    assert answer["lastDesiredVersion"] == 7
    assert answer["lastDesiredStatus"] == {"code": 200, "description": "applied"}


def test_null_is_answered_as_a_default() -> None:
    """A property set to null is the module's own default again."""
    assert _acknowledged({"mode": None})["mode"]["ac"] == 203


def test_work_under_way_and_failures_are_told_per_property() -> None:
    """202 and 500 stand at the property, and the worst of them is the whole document's."""
    outcomes = {"scope": Outcome(202, "syncing"), "storage": Outcome(500, "disk")}
    answer = _acknowledged({"scope": {"repositories": []}}, outcomes=outcomes)
    assert (answer["scope"]["ac"], answer["scope"]["ad"]) == (202, "syncing")
    assert (answer["storage"]["ac"], answer["lastDesiredStatus"]["code"]) == (500, 500)


def test_warnings_are_in_the_verdict_on_the_whole() -> None:
    """An ignored property is told though the document is applied."""
    status = _acknowledged({"colour": "red"})["lastDesiredStatus"]
    assert status["code"] == 200
    assert "colour is not known" in status["description"]


def test_an_unknown_version_is_not_reported() -> None:
    """Without ``$version`` there is no newest version to name."""
    answer = _acknowledged({"mode": "ReadOnly"}, version=None)
    assert "lastDesiredVersion" not in answer
    assert answer["mode"]["av"] == 0


def test_a_refusal_answers_the_property_at_fault_only() -> None:
    """400 stands with the value in force; the other properties keep the answers they have."""
    in_force = Desired.parse({"sync": {"concurrency": 4}})[0]
    with pytest.raises(TwinInvalid) as caught:
        Desired.parse({"sync": {"concurrency": 0}})
    answer = refuse(caught.value, in_force, 9)
    assert set(answer) == {"sync", "lastDesiredVersion", "lastDesiredStatus"}
    assert (answer["sync"]["ac"], answer["sync"]["av"]) == (400, 9)
    assert answer["sync"]["value"]["concurrency"] == 4
    assert "sync.concurrency" in answer["sync"]["ad"]
    assert answer["lastDesiredStatus"]["code"] == 400
    assert "sync.concurrency" in answer["lastDesiredStatus"]["description"]


def test_a_conflict_is_told_as_such() -> None:
    """409 comes with the mode that stays in force."""
    in_force = Desired.parse({"mode": "ReadWrite"})[0]
    error = TwinInvalid("mode", "ReadOnly", "3 pushes wait", status=409)
    answer = refuse(error, in_force, 9)
    assert (answer["mode"]["ac"], answer["mode"]["value"]) == (409, "ReadWrite")


def test_a_refusal_without_a_property_is_told_on_the_whole_only() -> None:
    """A document that is no object, or an old version, is no property's fault."""
    answer = refuse(TwinInvalid("$version", 3, "old"), Desired(), 3)
    assert set(answer) == {"lastDesiredVersion", "lastDesiredStatus"}


def test_hashes_do_not_come_back() -> None:
    """Names and scope maps of tokens are acknowledged, their passwords are not."""
    hashed = hash_password("x")
    token = {"name": "a", "scopeMap": "_repositories_pull", "passwords": [{"hash": hashed}]}
    answer = _acknowledged({"clientTokens": [token]})
    (value,) = answer["clientTokens"]["value"]
    assert value["name"] == "a"
    assert hashed not in repr(answer)


def test_long_values_are_cut_and_say_so() -> None:
    """A scope of hundreds of rules is acknowledged in part, with the number that there are."""
    rules = [{"name": f"team/app{n}"} for n in range(300)]
    answer = _acknowledged({"scope": {"repositories": rules}})
    assert twin_size(answer["scope"]["value"]) <= MAX_VALUE
    assert "of 300 items" in answer["scope"]["ad"]


def test_all_acknowledgements_together_stay_small() -> None:
    """The largest document leaves more than half of the reported bound to the facts."""
    names = [f"team/application-{n}" for n in range(120)]
    document = {
        "scope": {"repositories": [{"name": name} for name in names]},
        "clientTokens": [
            {"name": f"token{n}", "scopeMap": "_repositories_pull"} for n in range(60)
        ],
        "scopeMaps": [
            {"name": f"map{n}", "actions": [f"repositories/{names[n]}/content/read"]}
            for n in range(60)
        ],
        "notifications": [f"{name}:*" for name in names],
        "parent": {"sources": [f"host-{n}.example" for n in range(200)]},
    }
    answer = _acknowledged(document)
    assert twin_size(answer) < 10 * 1024
    check_limits(answer, "reported")


def test_what_has_no_value_is_left_out() -> None:
    """Reported properties cannot hold null, so an unset parent is not part of its answer."""
    answer = _acknowledged({})
    assert answer["parent"]["value"] == {"protocol": "https", "sources": []}
    assert same(without_nulls(answer), answer)
