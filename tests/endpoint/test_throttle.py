from __future__ import annotations

import pytest

from connected_registry.endpoint.throttle import (
    FORGOTTEN_AFTER,
    FREE_BY_SOURCE,
    FREE_BY_USER,
    LONGEST_WAIT,
    Throttle,
)
from connected_registry.errors import TooManyRequests


class Clock:
    """Seconds that only the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        """Those seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    """A throttle on it."""
    return Throttle(clock)


def fail(throttle: Throttle, times: int, source: str = "192.0.2.1", user: str = "ann") -> None:
    """Attempts that do not succeed."""
    for _ in range(times):
        throttle.begin(source, user)


def wait_of(throttle: Throttle, source: str = "192.0.2.1", user: str = "ann") -> int:
    """What a further attempt is told to wait."""
    with pytest.raises(TooManyRequests) as refused:
        throttle.begin(source, user)
    return int(refused.value.headers["Retry-After"])


def test_guessing_is_made_to_wait_longer_and_longer(throttle: Throttle, clock: Clock) -> None:
    """A second at first, then twice as long each time, up to the longest."""
    fail(throttle, FREE_BY_USER + 1)
    waits = []
    for _ in range(12):
        waits.append(wait_of(throttle))
        clock.now += waits[-1]
        fail(throttle, 1)

    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] == LONGEST_WAIT


def test_a_success_wipes_the_slate(throttle: Throttle) -> None:
    """Whoever knows the password is nobody who guesses."""
    fail(throttle, FREE_BY_USER)
    throttle.succeeded("192.0.2.1", "ann")

    fail(throttle, FREE_BY_USER)


def test_one_user_does_not_shut_out_another_behind_the_same_address(throttle: Throttle) -> None:
    """Many devices share an address; each is counted for itself."""
    fail(throttle, FREE_BY_USER + 1)
    wait_of(throttle)

    fail(throttle, 1, user="bob")


def test_trying_many_names_is_guessing_too(throttle: Throttle) -> None:
    """The address as a whole has a limit of its own."""
    for number in range(FREE_BY_SOURCE + 1):
        fail(throttle, 1, user=f"user{number}")

    assert wait_of(throttle, user="another")


def test_neighbours_in_an_ipv6_network_count_as_one(throttle: Throttle) -> None:
    """A subscriber has as many addresses as there are passwords to try."""
    for number in range(FREE_BY_USER + 1):
        fail(throttle, 1, source=f"2001:db8::{number:x}")

    assert wait_of(throttle, source="2001:db8::ffff")
    fail(throttle, 1, source="2001:db8:0:1::1")


def test_old_failures_are_forgotten(throttle: Throttle, clock: Clock) -> None:
    """After a quarter of an hour without any."""
    fail(throttle, FREE_BY_USER)
    clock.now += FORGOTTEN_AFTER + 1

    fail(throttle, FREE_BY_USER)
