"""Connections to addresses that registries may not name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from connected_registry.errors import ParentFailed, ParentOffline
from connected_registry.parent.address import ParentAddress
from connected_registry.parent.limits import Limits
from connected_registry.parent.transport import GuardedBody, GuardedTransport, Tally
from peers.scripted import ScriptedRegistry


async def ask(address: ParentAddress, url: str) -> httpx.Response:
    """One request to ``url`` through a guarded transport of a replica of ``address``."""
    transport = GuardedTransport(httpx.AsyncHTTPTransport(), address, Limits(), Tally())
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        return await client.get(url)


async def test_a_name_that_means_this_machine_is_caught_once_connected() -> None:
    """A number that the resolver takes for 127.0.0.1 brings a connection and not one byte."""
    with ScriptedRegistry() as registry:
        with pytest.raises(ParentFailed, match=r"127\.0\.0\.1"):
            await ask(ParentAddress("parent.example"), f"http://2130706433:{registry.port}/v2/")
        assert registry.requests == []


async def test_what_a_person_configured_may_be_anywhere() -> None:
    """The same address is fine for the parent itself."""
    with ScriptedRegistry() as registry:
        address = ParentAddress(f"2130706433:{registry.port}", "http")
        assert (await ask(address, f"{address.url}v2/")).status_code == 200


class Link(httpx.AsyncByteStream):
    """Ten chunks of a hundred bytes; each moves the clock by ``seconds`` before it comes."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(10):
            self.now += self._seconds
            yield bytes(100)


async def take(link: Link, reader: float) -> int:
    """Read all of it through a guard with a floor of 50 bytes a second over 5 seconds."""
    limits = Limits(floor=50.0, floor_window=5.0)
    received = 0
    async for chunk in GuardedBody(link, "parent", None, limits, Tally(), lambda: link.now):
        received += len(chunk)
        link.now += reader
    return received


async def test_a_bearable_pace_is_borne() -> None:
    """A body just above the floor comes to its end."""
    assert await take(Link(1.9), 0.0) == 1000


async def test_a_pace_below_the_floor_is_not() -> None:
    """A body just below it is given up."""
    with pytest.raises(ParentOffline, match="sent only"):
        await take(Link(2.1), 0.0)


async def test_time_that_the_reader_takes_is_not_blamed_on_the_parent() -> None:
    """A reader that waits between chunks, for a rate limit or a disk, gets the whole body."""
    assert await take(Link(0.1), 100.0) == 1000
