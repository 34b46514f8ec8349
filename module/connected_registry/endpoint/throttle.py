"""Slows down whoever guesses passwords."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from connected_registry.errors import TooManyRequests

FREE_BY_USER: Final = 20
"""Failures of one source at one user name before waiting begins; parallel log-ins count singly."""

FREE_BY_SOURCE: Final = 100
"""Failures of one source at all user names: many devices may share one address."""

LONGEST_WAIT: Final = 300.0
"""Longest wait, in seconds; it doubles from one second with each further failure."""

FORGOTTEN_AFTER: Final = 900.0
"""Seconds without a failure after which the slate is clean."""

_MAX_ENTRIES: Final = 20_000


@dataclass(slots=True)
class _Record:
    attempts: int = 0
    last: float = 0.0
    blocked_until: float = 0.0


class Throttle:
    """Counts log-in attempts by source and user and makes those that go on failing wait.

    An attempt counts as failed when it begins, so that guesses made at the same moment are all
    counted; a success takes its whole count back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[tuple[str, str | None], _Record] = OrderedDict()

    def begin(self, source: str, user: str) -> None:
        """Count an attempt. Raises `TooManyRequests` with ``Retry-After`` while one has to wait."""
        now = self._clock()
        network = _network(source)
        keys = (((network, user[:64]), FREE_BY_USER), ((network, None), FREE_BY_SOURCE))
        for key, _ in keys:
            record = self._records.get(key)
            if record is not None and now < record.blocked_until:
                wait = math.ceil(record.blocked_until - now)
                raise TooManyRequests("too many failed log-ins", headers={"Retry-After": str(wait)})
        for key, free in keys:
            self._count(key, free, now)

    def succeeded(self, source: str, user: str) -> None:
        """Forget the failures of this source at this user, and one of the source's."""
        network = _network(source)
        self._records.pop((network, user[:64]), None)
        record = self._records.get((network, None))
        if record is not None:
            record.attempts = max(0, record.attempts - 1)
            record.blocked_until = 0.0

    def _count(self, key: tuple[str, str | None], free: int, now: float) -> None:
        record = self._records.setdefault(key, _Record())
        if now - record.last > FORGOTTEN_AFTER:
            record.attempts = 0
        record.attempts += 1
        record.last = now
        if record.attempts > free:
            exponent = min(record.attempts - free - 1, 16)
            record.blocked_until = now + min(2.0**exponent, LONGEST_WAIT)
        self._records.move_to_end(key)
        while len(self._records) > _MAX_ENTRIES:
            self._records.popitem(last=False)


def _network(source: str) -> str:
    """The address; of IPv6 the half that a subscriber cannot choose."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address):
        return address.exploded[:19]
    return source
