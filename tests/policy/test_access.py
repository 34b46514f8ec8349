"""Who may do what."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connected_registry.policy.access import (
    SYSTEM_SCOPE_MAPS,
    Action,
    ClientToken,
    Password,
    Permissions,
    ScopeMap,
    Status,
    check_access,
    permissions_of,
)
from connected_registry.policy.password import PasswordHash

NOW = datetime(2024, 5, 1, tzinfo=UTC)
HASH = str(
    PasswordHash(
        10,
        1,
        1,
        b"saltsalt",
        hashlib.scrypt(b"right", salt=b"saltsalt", n=2**10, r=1, p=1, dklen=32),
    )
)
NAMES = st.sampled_from(["a", "a/b", "a/b/c", "ab", "team/app"])
PATTERNS = st.sampled_from(["a", "a/b", "a/*", "a/b/*", "*", "team/app"])
ACTIONS = st.sampled_from(Action)
GRANTS = st.lists(st.tuples(PATTERNS, ACTIONS), max_size=5)


def permissions(grants: list[tuple[str, Action]]) -> Permissions:
    """Permissions of pairs of pattern and action."""
    return Permissions.from_actions(f"repositories/{name}/{action}" for name, action in grants)


def matches(pattern: str, name: str) -> bool:
    """What a pattern means, said another way."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == name


@given(GRANTS, NAMES, ACTIONS)
def test_what_is_granted_is_allowed_and_nothing_else(
    grants: list[tuple[str, Action]], name: str, action: Action
) -> None:
    """An action is allowed exactly where some grant has it for that repository."""
    granted = any(given is action and matches(pattern, name) for pattern, given in grants)
    assert permissions(grants).allows(name, action) is granted
    if granted:
        assert permissions(grants).allows_any(name)


@given(GRANTS, GRANTS, NAMES, ACTIONS)
def test_permissions_add_up(
    first: list[tuple[str, Action]], second: list[tuple[str, Action]], name: str, action: Action
) -> None:
    """Merged permissions allow what either allows, and are those of both lists at once."""
    left, right = permissions(first), permissions(second)
    both = left | right
    assert both == permissions(first + second)
    assert both.allows(name, action) is (left.allows(name, action) or right.allows(name, action))


@given(NAMES, ACTIONS)
def test_nothing_is_allowed_by_default(name: str, action: Action) -> None:
    """Without a grant everything is denied."""
    assert not Permissions().allows(name, action)
    assert not Permissions().allows_any(name)


def test_gateway_actions_are_kept() -> None:
    """What a child replica's token is granted towards its parent is taken and remembered."""
    found = Permissions.from_actions(["gateway/site-7/config/read", "gateway/site-7/message/write"])
    assert found.gateways == {("site-7", "config/read"), ("site-7", "message/write")}
    assert not found.allows("site-7", Action.CONTENT_READ)


def test_a_repository_named_like_an_action_is_one() -> None:
    """The action is read from the right, so a name may hold its words."""
    found = Permissions.from_actions(["repositories/a/content/read/content/write"])
    assert found.allows("a/content/read", Action.CONTENT_WRITE)


@pytest.mark.parametrize(
    "action",
    [
        "",
        "repositories",
        "repositories/a/content/execute",
        "repositories//content/read",
        "repositories/a/content",
        "repositories/A/content/read",
        "repositories/../content/read",
        "repositories/a*/content/read",
        "repositories/*/a/content/read",
        "registry/a/content/read",
        "gateway/a/content/read",
        "gateway/a b/config/read",
        "gateway/config/read",
        "repositories/a/content/read\n",
        "x" * 5000,
    ],
)
def test_other_actions_are_refused(action: str) -> None:
    """What is no action is named, cut to a bearable length, with an example."""
    with pytest.raises(ValueError, match=r"must (be an|be a gateway|name a)") as caught:
        Permissions.from_actions([action])
    assert len(str(caught.value)) < 600


def test_a_scope_map_has_permissions() -> None:
    """A scope map is its actions; without any it grants nothing."""
    document = {"name": "m", "actions": ["repositories/a/content/read"]}
    found = ScopeMap.model_validate(document)
    assert found.permissions.allows("a", Action.CONTENT_READ)
    assert found.model_dump(mode="json") == document
    assert ScopeMap(name="m").permissions == Permissions()


def test_a_wrong_action_is_refused_in_its_scope_map() -> None:
    """The error is at the scope map's actions."""
    with pytest.raises(ValidationError, match="'repositories/a/pull' must be an action such as"):
        ScopeMap.model_validate({"name": "m", "actions": ["repositories/a/pull"]})


def token(**document: Any) -> ClientToken:
    """A token as a twin has it."""
    return ClientToken.model_validate({"name": "t", "scopeMap": "m"} | document)


@pytest.mark.parametrize(
    ("document", "plain", "works"),
    [
        ({"passwords": [{"hash": HASH}]}, "right", True),
        ({"passwords": [{"hash": HASH}]}, "wrong", False),
        ({"passwords": []}, "right", False),
        ({"passwords": [{"hash": HASH}], "status": "disabled"}, "right", False),
        ({"passwords": [{"hash": HASH, "expiry": "2024-05-01T00:00:01Z"}]}, "right", True),
        ({"passwords": [{"hash": HASH, "expiry": "2024-05-01T00:00:00Z"}]}, "right", False),
        (
            {"passwords": [{"hash": HASH, "expiry": "2024-01-01T00:00:00Z"}, {"hash": HASH}]},
            "right",
            True,
        ),
    ],
)
def test_a_password_counts_while_token_and_password_do(
    document: dict[str, Any], plain: str, works: bool
) -> None:
    """Either password verifies, until it expires or the token is disabled."""
    assert token(**document).verifies(plain, NOW) is works


def test_a_password_expires_on_time() -> None:
    """It works until just before its expiry."""
    password = Password(hash=HASH, expiry=NOW)
    assert password.verifies("right", NOW - timedelta(microseconds=1))
    assert not password.verifies("right", NOW)


@pytest.mark.parametrize(
    "password",
    [
        "hunter2",
        {"password": "hunter2"},
        {"value": "hunter2", "hash": HASH},
        {"PlainText": "hunter2"},
        {"hash": "hunter2"},
        {"hash": HASH, "secret": "hunter2"},
    ],
)
def test_plain_passwords_are_refused_and_not_repeated(password: object) -> None:
    """However it is given, the message tells how to hash it and not what it was."""
    with pytest.raises(ValidationError) as caught:
        token(passwords=[password])
    (error,) = caught.value.errors(include_input=False)
    assert "connected-registry token hash" in error["msg"]
    assert "hunter2" not in repr(error)
    assert "hunter2" not in str(caught.value)


def test_a_plain_password_in_the_wrong_place_is_refused_too() -> None:
    """A password beside the list of hashes is no unknown key to be kept with a warning."""
    with pytest.raises(ValidationError, match="plain passwords are not accepted") as caught:
        token(password="hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_hash_is_not_shown() -> None:
    """Printing a token tells no one its hashes."""
    assert HASH not in repr(token(passwords=[{"hash": HASH}]))


@pytest.mark.parametrize(
    ("document", "place", "sentence"),
    [
        ({"name": ""}, "name", "must be 1 to 64 letters"),
        ({"name": "a:b"}, "name", "must be 1 to 64 letters"),
        ({"name": "x" * 65}, "name", "must be 1 to 64 letters"),
        ({"status": "on"}, "status", "'enabled' or 'disabled'"),
        ({"scopeMap": None}, "scopeMap", "Field required"),
        ({"scopeMap": "a/b"}, "scopeMap", "must be 1 to 64 letters"),
        ({"passwords": [{"hash": HASH}] * 3}, "passwords", "at most 2 items"),
        ({"passwords": [None]}, "passwords.0", "valid dictionary"),
        ({"passwords": [{}]}, "passwords.0.hash", "Field required"),
        ({"passwords": [{"hash": HASH, "expiry": "soon"}]}, "passwords.0.expiry", "RFC 3339"),
    ],
)
def test_a_wrong_token_is_refused_by_key(
    document: dict[str, Any], place: str, sentence: str
) -> None:
    """The refusal names the key and says what would be right."""
    with pytest.raises(ValidationError) as caught:
        token(**document)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert sentence in error["msg"]


def test_states_are_read_in_any_case() -> None:
    """Azure writes some of these words with a capital letter."""
    assert token(status="Enabled").status is Status.ENABLED


def test_names_must_be_one_of_a_kind_and_known() -> None:
    """Duplicates and unknown scope maps are refused by name."""
    one = ScopeMap(name="m")
    check_access([token(), token(name="u", scopeMap="_repositories_pull")], [one])
    with pytest.raises(ValueError, match="scope map 'm' is defined twice"):
        check_access([], [one, one])
    with pytest.raises(ValueError, match="scope map '_repositories_pull' is defined twice or has"):
        check_access([], [ScopeMap(name="_repositories_pull")])
    with pytest.raises(ValueError, match="client token 't' is defined twice"):
        check_access([token(), token()], [one])
    with pytest.raises(ValueError, match="'t' names scope map 'm', which is not in scopeMaps"):
        check_access([token()], [])


def test_a_token_may_do_what_its_scope_map_says() -> None:
    """Own and built-in scope maps are found by name; an unknown one grants nothing."""
    own = ScopeMap(name="m", actions=("repositories/a/content/delete",))
    assert permissions_of(token(), [own]).allows("a", Action.CONTENT_DELETE)
    pull = permissions_of(token(scopeMap="_repositories_pull"), [own])
    assert pull.allows("any/thing", Action.CONTENT_READ)
    assert not pull.allows("any/thing", Action.CONTENT_WRITE)
    assert permissions_of(token(scopeMap="other"), [own]) == Permissions()


def test_the_built_in_admin_may_do_everything() -> None:
    """Every action on every repository."""
    admin = next(found for found in SYSTEM_SCOPE_MAPS if found.name == "_repositories_admin")
    assert all(admin.permissions.allows("x/y", action) for action in Action)
