from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connected_registry.endpoint.access import Access, AccessRules, SignedIn
from connected_registry.endpoint.page.session import COOKIE, LIFETIME, Sessions, cookie
from connected_registry.errors import TokenInvalid
from connected_registry.policy.access import Status
from endpoint.people import rules, token

KEY = bytes(range(32))


class Times:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The moment it was set to."""
        return self.now


@pytest.fixture
def clock() -> Times:
    """The time of both parts."""
    return Times()


@pytest.fixture
def access(clock: Times) -> Access:
    """Knows ann."""
    return Access(rules(token("ann", "pull")), key=KEY, audience="here", clock=clock)


@pytest.fixture
def sessions(clock: Times) -> Sessions:
    """The sessions of the same replica."""
    return Sessions(KEY, "here", clock)


@pytest.fixture
async def ann(access: Access) -> SignedIn:
    """Ann, with her password checked."""
    return await access.sign_in("ann", "ann-secret", "127.0.0.1")


def header(value: str) -> str:
    """The Cookie header of a browser that has another cookie too."""
    return f"theme=dark; {COOKIE}={value}"


async def test_a_cookie_names_whoever_it_was_made_for(
    access: Access, sessions: Sessions, ann: SignedIn
) -> None:
    """With the rights of now, not narrowed."""
    found = sessions.read(header(sessions.seal(ann)), access)

    assert found is not None
    assert found.principal == ann.principal
    assert found.principal.grants is None


async def test_a_session_ends_by_time_and_by_withdrawal(
    access: Access, sessions: Sessions, ann: SignedIn, clock: Times
) -> None:
    """Also while it lasts, as soon as the token or its password is another."""
    sealed = header(sessions.seal(ann))
    for changed in (
        token("ann", "pull", "new-secret"),
        token("ann", "pull", status=Status.DISABLED),
        token("bob", "pull"),
    ):
        access.configure(rules(changed))
        assert sessions.read(sealed, access) is None
    access.configure(rules(token("ann", "pull")))
    assert sessions.read(sealed, access) is not None
    clock.now += LIFETIME
    assert sessions.read(sealed, access) is None


async def test_cookies_and_client_tokens_are_not_taken_for_each_other(
    access: Access, sessions: Sessions, ann: SignedIn
) -> None:
    """Each is signed with a key of its own."""
    with pytest.raises(TokenInvalid):
        access.signer.read(sessions.seal(ann))
    assert sessions.read(header(access.issue(ann, [])), access) is None
    other = Sessions(KEY, "elsewhere", lambda: datetime(2026, 11, 23, tzinfo=UTC))
    assert sessions.read(header(other.seal(ann)), access) is None


@pytest.mark.parametrize(
    "cookies", [None, "", "x", f"{COOKIE}=", f"{COOKIE}=a.b.c", f'{COOKIE}="\\', "x" * 20_000]
)
def test_other_cookies_are_nobody(access: Access, sessions: Sessions, cookies: str | None) -> None:
    """Whatever is sent, nothing is raised."""
    assert sessions.read(cookies, access) is None


def test_a_form_is_taken_from_whoever_asked_for_it(sessions: Sessions, clock: Times) -> None:
    """For an hour, and from nobody else."""
    made = sessions.form_token("ann")

    assert sessions.takes(made, "ann")
    assert not sessions.takes(made, "bob")
    assert not sessions.takes(made[:-1] + ("0" if made[-1] != "0" else "1"), "ann")
    assert sessions.form_token("ann") != made
    for forged in ("", ".", "..", "zz.a.b", "é.é.é", "1.2.3"):
        assert not sessions.takes(forged, "ann")
    clock.now += timedelta(hours=1)
    assert not sessions.takes(made, "ann")


def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_connections() -> None:
    """The last only where there is TLS at all."""
    assert cookie("v", secure=False).endswith("Max-Age=3600; HttpOnly; SameSite=Strict")
    assert cookie("v", secure=True).endswith("; Secure")
    assert "Max-Age=0" in cookie("", secure=False)


def test_an_open_replica_has_no_sessions(sessions: Sessions, clock: Times) -> None:
    """There is nobody to name."""
    everyone = Access(AccessRules(open=True), key=KEY, audience="here", clock=clock)
    assert sessions.read(None, everyone) is None
