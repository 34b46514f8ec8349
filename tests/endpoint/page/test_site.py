from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connected_registry.endpoint.access import NOBODY, Access, AccessRules, Principal
from connected_registry.endpoint.page.facts import SiteFacts
from connected_registry.endpoint.page.site import StatusPage, deeds_now, may_act, may_look
from connected_registry.policy.access import Action, Permissions
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


def test_nobody_may_do_nothing_where_there_are_tokens() -> None:
    """Whatever anonymous callers are granted elsewhere."""
    everything = Permissions.from_actions(f"repositories/*/{action}" for action in Action)
    access = Access(
        AccessRules(anonymous_pull=True),
        key=bytes(32),
        audience="here",
        clock=lambda: datetime.now(UTC),
    )

    assert may_look(Principal("ann", everything), access)
    assert may_act(Principal("ann", everything), access)
    assert not may_look(Principal(NOBODY, everything), access)
    assert not may_act(Principal(NOBODY, everything), access)
