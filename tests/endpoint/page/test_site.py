from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connected_registry.endpoint.page.facts import SiteFacts
from connected_registry.endpoint.page.site import StatusPage, deeds_now
from endpoint.sites import ACTIONS, COMPLETE, EMPTY, PRESSED, SYNCING


class Replica:
    """Counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    async def gather(self) -> SiteFacts:
        """One look."""
        self.looks += 1
        await asyncio.sleep(0)
        return COMPLETE

    async def invoke(self, name: str, payload: Any) -> tuple[int, dict[str, Any]]:
        """Nothing is called here."""
        raise AssertionError(name, payload)


async def test_one_look_serves_all_readers_for_a_while() -> None:
    """Also those that ask at the same moment; whoever has just acted gets a new one."""
    replica = Replica()
    page = StatusPage(
        replica.gather,
        replica.invoke,
        key=bytes(32),
        audience="here",
        clock=lambda: datetime.now(UTC),
        fresh_for=1000,
    )
    await asyncio.gather(*(page.facts() for _ in range(10)))
    assert replica.looks == 1
    await page.facts(fresh=True)
    await page.facts()
    assert replica.looks == 2


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        (COMPLETE, ["sync", "pause", "verify", "collect"]),
        (SYNCING, ["cancel", "pause", "verify", "collect"]),
        (PRESSED, ["resume", "verify", "collect"]),
        (EMPTY, ["verify", "collect"]),
        (replace(COMPLETE, actions=ACTIONS - {"verifyStore"}), ["sync", "pause", "collect"]),
    ],
)
def test_only_what_would_do_something_is_offered(facts: SiteFacts, names: list[str]) -> None:
    """By the state of the sync, and by what this release can do."""
    assert [deed.name for deed in deeds_now(facts)] == names
