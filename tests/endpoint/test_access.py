from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connected_registry.endpoint import access as subject
from connected_registry.endpoint.access import Access, AccessRules, Principal
from connected_registry.endpoint.throttle import FREE_BY_USER, Throttle
from connected_registry.errors import (
    Denied,
    RegistryError,
    ScopeInsufficient,
    TokenInvalid,
    TooManyRequests,
    Unauthorized,
)
from connected_registry.oci.challenge import parse_scopes
from connected_registry.policy.access import Action, Status
from endpoint.people import MINE, OTHERS, hashed, rules, token

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SOURCE = "192.0.2.1"


class Clock:
    """A time that the test sets."""

    now = NOW

    def __call__(self) -> datetime:
        """That time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[[AccessRules], Access]:
    """Makes access by rules."""
    return lambda rules: Access(rules, key=bytes(range(32)), audience="site-7", clock=clock)


Make = Callable[[AccessRules], Access]


def basic(username: str, password: str) -> list[tuple[bytes, bytes]]:
    """Headers with a Basic pair."""
    pair = base64.b64encode(f"{username}:{password}".encode())
    return [(b"host", b"x"), (b"authorization", b"Basic " + pair)]


async def token_of(access: Access, username: str, scope: str) -> list[tuple[bytes, bytes]]:
    """Headers with the token that a log-in gives for ``scope``."""
    password = f"{username}-secret" if username else ""
    signed_in = await access.sign_in(username, password, SOURCE)
    text = access.issue(signed_in, parse_scopes([scope]))
    return [(b"authorization", b"Bearer " + text.encode())]


def refusal(
    access: Access, principal: Principal, action: Action, repository: str
) -> type[RegistryError] | None:
    """What asking for an action raises."""
    try:
        access.authorise(principal, action, repository)
    except RegistryError as error:
        return type(error)
    return None


async def test_each_of_two_passwords_works_and_no_other(make: Make) -> None:
    """So that one can be changed while the other is in use."""
    access = make(rules(token("ann", "pull", "first", "second")))
    for password in ("first", "second"):
        principal = await access.authenticate(basic("ann", password), SOURCE)
        assert principal.name == "ann"
    for username, password in (("ann", "third"), ("Ann", "first"), ("bob", "first"), ("ann", "")):
        with pytest.raises(Unauthorized):
            await access.authenticate(basic(username, password), SOURCE)


async def test_a_disabled_token_and_an_expired_password_do_not_work(
    make: Make, clock: Clock
) -> None:
    """Nor one that expires while it is remembered."""
    soon = NOW + timedelta(minutes=1)
    access = make(
        rules(
            token("off", "pull", status=Status.DISABLED),
            token("old", "pull", expiry=NOW),
            token("ann", "pull", expiry=soon),
        )
    )
    for name in ("off", "old"):
        with pytest.raises(Unauthorized):
            await access.sign_in(name, f"{name}-secret", SOURCE)
    bearer = await token_of(access, "ann", f"repository:{MINE}:pull")
    await access.authenticate(bearer, SOURCE)
    clock.now = soon
    access.configure(rules(token("ann", "pull", expiry=soon)))

    with pytest.raises(Unauthorized):
        await access.sign_in("ann", "ann-secret", SOURCE)
    with pytest.raises(TokenInvalid):
        await access.authenticate(bearer, SOURCE)


async def test_a_password_is_computed_once_and_then_remembered(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends Basic on every request does not cost a second of CPU each time."""
    computed: list[str] = []
    genuine = subject.verify_password

    def counting(plain: str, text: str) -> bool:
        computed.append(threading.current_thread().name)
        return genuine(plain, text)

    monkeypatch.setattr(subject, "verify_password", counting)
    access = make(rules(token("ann", "pull")))
    for _ in range(3):
        await access.authenticate(basic("ann", "ann-secret"), SOURCE)

    assert len(computed) == 2
    assert threading.main_thread().name not in computed


@pytest.mark.parametrize("username", ["ann", "two", "off", "nobody"])
async def test_a_wrong_log_in_costs_the_same_whoever_it_names(
    make: Make, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    """Two computations: for one password, two, a disabled token, and a name that is none."""
    computed: list[str] = []
    monkeypatch.setattr(
        subject, "verify_password", lambda _plain, text: bool(computed.append(text))
    )
    access = make(
        rules(
            token("ann", "pull"),
            token("two", "pull", "first", "second"),
            token("off", "pull", status=Status.DISABLED),
        )
    )
    with pytest.raises(Unauthorized):
        await access.sign_in(username, "wrong", SOURCE)

    assert len(computed) == 2
    assert len({tuple(text.split("$")[1:4]) for text in computed}) == 1


async def test_a_token_is_what_was_asked_for_and_allowed(make: Make) -> None:
    """Less than the owner may do, never more; what was not asked for can be asked for."""
    access = make(rules(token("bob", "push")))
    principal = await access.authenticate(
        await token_of(access, "bob", f"repository:{MINE}:pull,delete repository:{OTHERS}:pull"),
        SOURCE,
    )

    assert refusal(access, principal, Action.CONTENT_READ, MINE) is None
    assert refusal(access, principal, Action.METADATA_READ, MINE) is None
    assert refusal(access, principal, Action.CONTENT_WRITE, MINE) is ScopeInsufficient
    assert refusal(access, principal, Action.CONTENT_READ, "team/b") is ScopeInsufficient
    assert refusal(access, principal, Action.CONTENT_DELETE, MINE) is Denied
    assert refusal(access, principal, Action.CONTENT_READ, OTHERS) is Denied


async def test_nobody_may_do_nothing_unless_anonymous_pulls_are_allowed(make: Make) -> None:
    """Then it may read everything and change nothing."""
    closed, welcoming = make(rules()), make(rules(anonymous_pull=True))
    for access, may_read in ((closed, False), (welcoming, True)):
        principal = await access.authenticate([], SOURCE)
        expected = None if may_read else Unauthorized
        assert refusal(access, principal, Action.CONTENT_READ, MINE) is expected
        assert refusal(access, principal, Action.METADATA_READ, MINE) is expected
        assert refusal(access, principal, Action.CONTENT_WRITE, MINE) is Unauthorized
        assert refusal(access, principal, Action.CONTENT_DELETE, MINE) is Unauthorized


async def test_the_first_look_asks_for_credentials_even_where_none_are_needed(make: Make) -> None:
    """Docker never sends any where ``/v2/`` was open; an empty Basic pair is nobody's."""
    access = make(rules(token("ann", "pull"), anonymous_pull=True))
    with pytest.raises(Unauthorized):
        access.authorise_presence(await access.authenticate([], SOURCE))
    for headers in (
        basic("", ""),
        await token_of(access, "", f"repository:{MINE}:pull"),
        await token_of(access, "ann", f"repository:{MINE}:pull"),
    ):
        access.authorise_presence(await access.authenticate(headers, SOURCE))
    closed = make(rules(token("ann", "pull")))
    with pytest.raises(Unauthorized):
        closed.authorise_presence(await closed.authenticate(basic("", ""), SOURCE))
    with pytest.raises(Unauthorized):
        await token_of(closed, "", f"repository:{MINE}:pull")


async def test_an_open_replica_asks_nobody(make: Make) -> None:
    """Whatever is sent along."""
    access = make(AccessRules(open=True))
    for headers in ([], basic("x", "y"), [(b"authorization", b"Bearer forged")]):
        principal = await access.authenticate(headers, SOURCE)
        access.authorise_presence(principal)
        access.authorise_catalog(principal)
        for action in Action:
            assert refusal(access, principal, action, "any/thing") is None


async def test_new_rules_reach_tokens_already_issued(make: Make) -> None:
    """A smaller scope map, a withdrawn password and a removed token count at once."""
    before = rules(token("ann", "push"))
    access = make(before)
    bearer = await token_of(access, "ann", f"repository:{MINE}:pull,push")
    password = basic("ann", "ann-secret")

    access.configure(rules(token("ann", "pull")))
    for headers in (bearer, password):
        principal = await access.authenticate(headers, SOURCE)
        assert refusal(access, principal, Action.CONTENT_READ, MINE) is None
        assert refusal(access, principal, Action.CONTENT_WRITE, MINE) is Denied
    for withdrawn in (
        rules(token("ann", "push", "another")),
        rules(token("ann", "push", status=Status.DISABLED)),
        rules(),
    ):
        access.configure(withdrawn)
        for headers in (bearer, password):
            with pytest.raises(Unauthorized):
                await access.authenticate(headers, SOURCE)
    access.configure(before)
    assert await access.authenticate(bearer, SOURCE)


async def test_changing_one_password_does_not_disturb_the_other(make: Make) -> None:
    """Whoever logged in with the one that stays goes on."""
    access = make(rules(token("ann", "pull", "ann-secret", "old")))
    bearer = await token_of(access, "ann", f"repository:{MINE}:pull")
    access.configure(rules(token("ann", "pull", "new", "ann-secret")))

    assert (await access.authenticate(bearer, SOURCE)).name == "ann"


async def test_switching_anonymous_pulls_off_ends_nobodys_tokens(make: Make) -> None:
    """At once."""
    access = make(rules(anonymous_pull=True))
    bearer = await token_of(access, "", f"repository:{MINE}:pull")
    assert (await access.authenticate(bearer, SOURCE)).is_anonymous
    access.configure(rules())

    with pytest.raises(TokenInvalid):
        await access.authenticate(bearer, SOURCE)


async def test_rules_that_change_while_a_password_is_checked_count(make: Make) -> None:
    """What was true when the check began is not remembered as true."""
    access = make(rules(token("ann", "pull")))
    checking = asyncio.create_task(access.sign_in("ann", "ann-secret", SOURCE))
    await asyncio.sleep(0)
    access.configure(rules(token("ann", "all", "another")))

    with pytest.raises(Unauthorized):
        await checking


async def test_guessing_is_throttled_and_those_who_know_are_not(clock: Clock) -> None:
    """Behind one address, a client that is logged in goes on while another one guesses."""
    access = Access(
        rules(token("ann", "pull")),
        key=bytes(32),
        audience="site-7",
        clock=clock,
        throttle=Throttle(lambda: 0.0),
    )
    await access.authenticate(basic("ann", "ann-secret"), SOURCE)
    guesses = [access.sign_in("ann", f"guess{n}", SOURCE) for n in range(FREE_BY_USER + 5)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)

    assert sum(isinstance(each, TooManyRequests) for each in outcomes) == 4
    assert await access.authenticate(basic("ann", "ann-secret"), SOURCE)
    with pytest.raises(TooManyRequests):
        await access.sign_in("ann", "guess", SOURCE)


async def test_the_catalogue_is_what_one_may_pull(make: Make) -> None:
    """Listing rights alone show nothing; a token has to be meant for it."""
    access = make(rules(token("ann", "pull"), token("lea", "list"), token("nil", "none")))
    ann = await access.authenticate(basic("ann", "ann-secret"), SOURCE)
    lea = await access.authenticate(basic("lea", "lea-secret"), SOURCE)
    access.authorise_catalog(ann)
    access.authorise_catalog(await access.authenticate(basic("nil", "nil-secret"), SOURCE))
    narrow = await access.authenticate(
        await token_of(access, "ann", f"repository:{MINE}:pull"), SOURCE
    )
    meant = await access.authenticate(await token_of(access, "ann", "registry:catalog:*"), SOURCE)

    assert (ann.may_list(MINE), ann.may_list(OTHERS), lea.may_list(MINE)) == (True, False, False)
    access.authorise_catalog(meant)
    with pytest.raises(ScopeInsufficient):
        access.authorise_catalog(narrow)
    with pytest.raises(Unauthorized):
        access.authorise_catalog(await access.authenticate([], SOURCE))


async def test_no_password_stays_in_memory(make: Make) -> None:
    """What is remembered of a good one cannot be turned back into it."""
    access = make(rules(token("ann", "pull")))
    await access.authenticate(basic("ann", "ann-secret"), SOURCE)

    assert "ann-secret" not in repr(vars(access))
    assert base64.b64encode(b"ann:ann-secret").decode() not in repr(vars(access))


def test_rules_are_values() -> None:
    """So that whoever swaps them can tell whether they changed."""
    assert rules(token("ann", "pull")) == rules(token("ann", "pull"))
    assert replace(rules(), anonymous_pull=True) != rules()
    assert hashed("x") == hashed("x")
