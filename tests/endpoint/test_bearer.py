from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.endpoint.bearer import LEEWAY, LIFETIME, Grants, TokenSigner
from connected_registry.errors import TokenInvalid
from connected_registry.oci.challenge import TokenScope, parse_scopes
from connected_registry.policy.access import Action, Permissions

KEY = bytes(range(32))
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EVERYTHING = Permissions.from_actions(f"repositories/*/{action}" for action in Action)


class Clock:
    """A time that the test sets."""

    now = NOW

    def __call__(self) -> datetime:
        """That time."""
        return self.now


def signer(clock: Clock, *, key: bytes = KEY, audience: str = "site-7") -> TokenSigner:
    """A replica's signer."""
    return TokenSigner(key, audience, clock=clock)


def grants(*scopes: str, permissions: Permissions = EVERYTHING) -> Grants:
    """What asking for ``scopes`` gives."""
    return Grants.of(parse_scopes(scopes), permissions)


names = st.sampled_from(["a", "a/b", "team/app"])
granted = st.frozensets(st.tuples(names, st.sampled_from(Action)), max_size=8)


@given(granted, st.booleans())
def test_what_a_token_grants_is_read_back(
    repositories: frozenset[tuple[str, Action]], catalog: bool
) -> None:
    """Exactly, through signature and JSON."""
    clock = Clock()
    token = signer(clock).issue("ann", "c0ffee", Grants(repositories, catalog))
    claims = signer(clock).read(token)

    assert claims.grants == Grants(repositories, catalog)
    assert (claims.subject, claims.credential) == ("ann", "c0ffee")


def test_a_smaller_grant_than_asked_for_is_no_error() -> None:
    """What the caller may not do is left out, repository by repository."""
    may = Permissions.from_actions(
        ["repositories/a/content/read", "repositories/team/*/content/write"]
    )

    assert grants(
        "repository:a:pull,push repository:team/x:pull,push", permissions=may
    ).repositories == {("a", Action.CONTENT_READ), ("team/x", Action.CONTENT_WRITE)}


def test_asking_to_pull_means_both_reads_and_a_star_means_all() -> None:
    """Clients that list tags ask for pull alone."""
    assert grants("repository:a:pull").repositories == {
        ("a", Action.CONTENT_READ),
        ("a", Action.METADATA_READ),
    }
    assert len(grants("repository:a:*").repositories) == len(Action)


@pytest.mark.parametrize(
    "scope", ["repository:*:*", "repository::pull", "repository:A:pull", "gateway:a:pull", "x:y:z"]
)
def test_scopes_that_name_nothing_grant_nothing(scope: str) -> None:
    """A star is a pattern in a scope map, not a repository."""
    assert Grants.of([TokenScope.parse(scope)], EVERYTHING) == Grants()


def test_a_token_lives_its_time_and_no_longer() -> None:
    """From a little before its issue to a little after its end, by the replica's clock."""
    clock = Clock()
    token = signer(clock).issue("ann", "", Grants())
    for moment in (NOW - LEEWAY, NOW + LIFETIME):
        clock.now = moment
        assert signer(clock).read(token).subject == "ann"
    for moment in (NOW - timedelta(days=3650), NOW + LIFETIME + LEEWAY):
        clock.now = moment
        with pytest.raises(TokenInvalid):
            signer(clock).read(token)


def test_a_token_is_good_at_its_own_replica_only() -> None:
    """Another audience or another key refuses it."""
    clock = Clock()
    token = signer(clock).issue("ann", "", Grants())
    for other in (signer(clock, audience="site-8"), signer(clock, key=bytes(32))):
        with pytest.raises(TokenInvalid):
            other.read(token)


def claims(**changes: object) -> dict[str, object]:
    """The claims of a genuine token, with changes."""
    now = int(NOW.timestamp())
    genuine = {
        "iss": "connected-registry",
        "sub": "ann",
        "aud": "site-7",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "x",
        "credential": "",
        "access": [],
    }
    return {key: value for key, value in {**genuine, **changes}.items() if value is not None}


def test_the_genuine_claims_of_these_tests_are_accepted() -> None:
    """Or else the refusals below would prove nothing."""
    assert signer(Clock()).read(jwt.encode(claims(), KEY, "HS256")).subject == "ann"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone-else"},
        {"aud": ["site-7", "site-8"]},
        {"aud": None},
        {"exp": None},
        {"nbf": None},
        {"jti": None},
        {"sub": None},
        {"exp": "soon"},
        {"exp": 1e400},
        {"access": None},
        {"access": "all"},
        {"access": [{"type": "repository"}]},
        {"access": [7]},
        {"credential": None},
    ],
)
def test_claims_that_are_missing_or_odd_are_refused(changes: dict[str, object]) -> None:
    """Even under a genuine signature."""
    with pytest.raises(TokenInvalid):
        signer(Clock()).read(jwt.encode(claims(**changes), KEY, "HS256"))


def test_the_header_of_a_token_chooses_nothing() -> None:
    """Neither the algorithm nor the key nor extensions are taken from it."""
    genuine = jwt.encode(claims(), KEY, "HS256")
    payload, signature = genuine.split(".")[1:]

    def forged(header: dict[str, object], signature: str) -> str:
        encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
        return f"{encoded}.{payload}.{signature}"

    for token in (
        forged({"alg": "none", "typ": "JWT"}, ""),
        forged({"alg": "HS512", "typ": "JWT"}, signature),
        jwt.encode(claims(), KEY + KEY, "HS512"),
        jwt.encode(claims(), KEY, "HS256", headers={"crit": ["x"], "x": 1}),
        "not.a.token",
        "",
        "a" * 10_000,
    ):
        with pytest.raises(TokenInvalid):
            signer(Clock()).read(token)


def test_weak_settings_are_refused() -> None:
    """A short key, and a life of hours."""
    with pytest.raises(ValueError, match="32 bytes"):
        signer(Clock(), key=b"short")
    with pytest.raises(ValueError, match="hour"):
        TokenSigner(KEY, "site-7", clock=Clock(), lifetime=timedelta(hours=2))
