"""Challenges and token scopes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.errors import NameInvalid
from connected_registry.oci.challenge import (
    MAX_HEADER,
    MAX_SCOPE,
    MAX_SCOPES,
    Challenge,
    TokenScope,
    format_scopes,
    parse_challenges,
    parse_scopes,
)

NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc", "Cf", "Zs"]), max_size=20)
CHALLENGES = st.builds(Challenge, NAMES, st.dictionaries(NAMES, VALUES, max_size=4))


@given(st.lists(CHALLENGES, max_size=3))
def test_challenges_are_read_back_as_written(challenges: list[Challenge]) -> None:
    """Any challenges, in one header or in several, are read as they were meant."""
    texts = [str(challenge) for challenge in challenges]
    assert parse_challenges(texts) == tuple(challenges)
    assert parse_challenges([", ".join(texts)]) == tuple(challenges)


def test_a_registry_s_challenge_is_written_as_clients_want_it() -> None:
    """The scheme has a capital letter and every value is quoted."""
    challenge = Challenge("bearer", {"realm": "https://a/token", "service": 'a"b\\c'})
    assert str(challenge) == 'Bearer realm="https://a/token",service="a\\"b\\\\c"'
    assert str(Challenge("basic")) == "Basic"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
            [
                (
                    "bearer",
                    {"realm": "https://auth.docker.io/token", "service": "registry.docker.io"},
                )
            ],
        ),
        (
            'bearer  REALM = "a" , scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "a", "scope": "repository:a/b:pull,push"})],
        ),
        (
            'Basic realm="a", Bearer realm="b"',
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})],
        ),
        ("Basic realm=plain", [("basic", {"realm": "plain"})]),
        ('Basic realm="a",realm="b"', [("basic", {"realm": "a"})]),
        ('Negotiate, Basic realm="a"', [("negotiate", {}), ("basic", {"realm": "a"})]),
        ('Negotiate abc==, Basic realm="a"', [("negotiate", {}), ("basic", {"realm": "a"})]),
        ("Negotiate", [("negotiate", {})]),
        (', , Basic realm=""', [("basic", {"realm": ""})]),
        ('Basic realm="\\"x\\\\"', [("basic", {"realm": '"x\\'})]),
        ('Basic realm="unterminated', [("basic", {})]),
        ('realm="a"', []),
        ("", []),
        ("=", []),
        ("Basic " + "x" * MAX_HEADER, []),
    ],
)
def test_challenges_of_many_registries_are_understood(
    header: str, expected: list[tuple[str, dict[str, str]]]
) -> None:
    """Blanks, cases, tokens and several schemes are read; nonsense ends the header."""
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges([header])] == expected


@given(st.text(max_size=60))
def test_no_header_breaks_the_parser(header: str) -> None:
    """Any text gives some challenges or none."""
    for challenge in parse_challenges([header, "Basic " + header]):
        assert challenge.scheme


def test_control_characters_never_reach_a_header() -> None:
    """A challenge that would break the response's lines cannot be written."""
    with pytest.raises(ValueError, match="control characters"):
        str(Challenge("bearer", {"realm": "a\r\nb"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("repository:a/b:pull,push", ("repository", "a/b", ("pull", "push"))),
        ("repository:host:5000/a:pull", ("repository", "host:5000/a", ("pull",))),
        ("repository(plugin):a:pull", ("repository", "a", ("pull",))),
        ("registry:catalog:*", ("registry", "catalog", ("*",))),
        ("repository:*:*", ("repository", "*", ("*",))),
        ("repository::pull", ("repository", "", ("pull",))),
        ("repository:a:", ("repository", "a", ())),
        ("repository:a:pull,,pull", ("repository", "a", ("pull",))),
    ],
)
def test_scopes_are_split_from_both_ends(text: str, expected: tuple[object, ...]) -> None:
    """The type comes from the left and the actions from the right, the rest is the name."""
    scope = TokenScope.parse(text)
    assert (scope.type, scope.name, scope.actions) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repository",
        "repository:a",
        "a b:c:d",
        "R:a:b",
        "repository:a\r\n:pull",
        ":a:b",
        "x" * 2000,
    ],
)
def test_malformed_scopes_are_refused(text: str) -> None:
    """What is no scope is answered with 400, and only its start repeated."""
    with pytest.raises(NameInvalid) as caught:
        TokenScope.parse(text)
    assert caught.value.status == 400
    assert len(caught.value.text) < 250


@given(
    st.lists(
        st.builds(TokenScope, NAMES, NAMES, st.lists(NAMES, max_size=3, unique=True).map(tuple))
    )
)
def test_scopes_are_read_back_and_merged(scopes: list[TokenScope]) -> None:
    """Scopes in one string or in several mean the same, and one name is there once."""
    scopes = scopes[:MAX_SCOPES]
    merged = parse_scopes([format_scopes(scopes)])
    assert merged == parse_scopes([str(scope) for scope in scopes])
    assert len({(scope.type, scope.name) for scope in merged}) == len(merged)
    for scope in scopes:
        found = next(one for one in merged if (one.type, one.name) == (scope.type, scope.name))
        assert set(scope.actions) <= set(found.actions)


@pytest.mark.parametrize("values", [["a:b:c"] * (MAX_SCOPES + 1), ["a:b:c " * 5000]])
def test_too_many_scopes_are_refused(values: list[str]) -> None:
    """More scopes than anyone needs are refused whole."""
    with pytest.raises(NameInvalid, match="more than 100 scopes"):
        parse_scopes(values)


def test_the_length_of_a_scope_is_bounded() -> None:
    """A scope may be as long as the limit, and no longer."""
    fits = "repository:" + "a" * (MAX_SCOPE - 16) + ":pull"
    assert len(fits) == MAX_SCOPE
    assert TokenScope.parse(fits).actions == ("pull",)
    with pytest.raises(NameInvalid):
        TokenScope.parse("x" + fits)
