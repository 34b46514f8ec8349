"""Connections to addresses that registries may not name."""

from __future__ import annotations

import httpx
import pytest

from connected_registry.errors import ParentFailed
from connected_registry.parent.address import ParentAddress
from connected_registry.parent.limits import Limits
from connected_registry.parent.transport import GuardedTransport, Tally
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
