"""Taking in desired documents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from connected_registry.edge.acknowledgement import Outcome
from connected_registry.edge.configuration import Configuration
from connected_registry.edge.patch import merge_patch
from connected_registry.edge.twin import Desired
from connected_registry.errors import ReplicaError, TwinInvalid
from connected_registry.policy.mode import Mode


class Site:
    """What the configuration acts on, remembered."""

    def __init__(self) -> None:
        self.applied: list[Desired] = []
        self.kept: list[tuple[Any, int | None]] = []
        self.told: dict[str, Any] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.raises: Exception | None = None
        self.waiting = 0
        self.configuration = Configuration(
            self.apply, tell=self.tell, keep=self.keep, waiting_pushes=lambda: self.waiting
        )

    async def apply(self, desired: Desired) -> Mapping[str, Outcome]:
        """Put into force, or fail as told."""
        await asyncio.sleep(0)
        if self.raises is not None:
            raise self.raises
        self.applied.append(desired)
        return self.outcomes

    async def keep(self, document: Any, version: int | None) -> None:
        """Remember for the next start."""
        self.kept.append((document, version))

    def tell(self, acknowledgements: Mapping[str, Any]) -> None:
        """Collect the answers as the twin would."""
        self.told = merge_patch(self.told, acknowledgements)


@pytest.fixture
def site() -> Site:
    """A site without configuration."""
    return Site()


async def test_a_good_document_is_applied_kept_and_acknowledged(site: Site) -> None:
    """What is accepted is in force, outlives a restart without the hub's keys, and is answered."""
    assert await site.configuration.receive({"$version": 3, "mode": "ReadWrite"}, 3)
    assert site.configuration.desired.mode is Mode.READ_WRITE
    assert site.kept == [({"mode": "ReadWrite"}, 3)]
    assert site.told["mode"]["ac"] == 200
    assert site.told["lastDesiredVersion"] == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": 5},
        {"mode": "Other"},
        {"sync": {"schedule": "* * * * * *"}},
        {"sync": {"messageTtl": "-P1D"}},
        {"scope": {"repositories": [{"name": "a", "tags": ["x" * 120] * 350}]}},
        {"scope": {"repositories": [{"name": "a"}, {"name": "a"}]}},
        {
            "clientTokens": [
                {"name": "a", "scopeMap": "_repositories_pull", "passwords": ["secret"]}
            ]
        },
        {"schemaVersion": "2.0"},
        ["no", "object"],
    ],
)
async def test_a_bad_document_changes_nothing_but_its_acknowledgement(site: Site, bad: Any) -> None:
    """The last good one stays in force and kept; the key at fault is answered with 400."""
    await site.configuration.receive({"mode": "ReadWrite"}, 1)
    before, told = site.configuration.desired, dict(site.told)
    assert not await site.configuration.receive(bad, 2)
    assert site.configuration.desired == before
    assert (len(site.applied), len(site.kept)) == (1, 1)
    assert site.told["lastDesiredStatus"]["code"] == 400
    assert site.told["lastDesiredVersion"] == 2
    changed = {key for key in site.told if site.told[key] != told[key]}
    named = set(bad) if isinstance(bad, dict) else set()
    assert changed == named | {"lastDesiredStatus", "lastDesiredVersion"}
    for key in named:
        assert site.told[key]["ac"] == 400


async def test_an_older_version_changes_nothing(site: Site) -> None:
    """``$version`` going back is refused; the newest version seen stays the newest."""
    await site.configuration.receive({"mode": "ReadWrite"}, 5)
    assert not await site.configuration.receive({"mode": "ReadOnly"}, 4)
    assert site.configuration.desired.mode is Mode.READ_WRITE
    assert site.configuration.version == 5
    assert "$version" in site.told["lastDesiredStatus"]["description"]


async def test_the_same_document_again_is_not_applied_again(site: Site) -> None:
    """A hub that repeats itself after a reconnect costs nothing."""
    await site.configuration.receive({"mode": "ReadWrite"}, 5)
    assert await site.configuration.receive({"mode": "ReadWrite"}, 5)
    assert len(site.applied) == 1


async def test_readonly_waits_for_pushes(site: Site) -> None:
    """409 while pushes wait, 200 once they are gone."""
    await site.configuration.receive({"mode": "ReadWrite"}, 1)
    site.waiting = 2
    assert not await site.configuration.receive({"mode": "ReadOnly"}, 2)
    assert (site.told["mode"]["ac"], site.told["mode"]["value"]) == (409, "ReadWrite")
    assert "2 pushes" in site.told["mode"]["ad"]
    site.waiting = 0
    assert await site.configuration.receive({"mode": "ReadOnly"}, 3)


async def test_a_refusal_while_applying_keeps_the_last_good(site: Site) -> None:
    """What only the running replica can know to be wrong is refused the same way."""
    site.raises = TwinInvalid("parent.loginServer", "self", "a replica cannot be its own parent")
    assert not await site.configuration.receive({"parent": {"loginServer": "self"}}, 1)
    assert site.told["parent"]["ac"] == 400
    assert site.kept == []


async def test_a_failure_while_applying_is_500(site: Site) -> None:
    """A fault of ours is answered at what was to change, and the old configuration is kept."""
    site.raises = ReplicaError("the disk is gone")
    assert not await site.configuration.receive({"anonymousPull": True}, 1)
    assert site.configuration.desired == Desired()
    assert (site.told["anonymousPull"]["ac"], site.told["mode"]["ac"]) == (500, 203)
    assert "the disk is gone" in site.told["anonymousPull"]["ad"]
    assert site.kept == []


async def test_work_under_way_ends_with_200(site: Site) -> None:
    """A scope is accepted with 202 until it is synced."""
    site.outcomes = {"scope": Outcome(202, "syncing")}
    await site.configuration.receive({"scope": {"repositories": [{"name": "a"}]}}, 1)
    assert site.told["scope"]["ac"] == 202
    site.configuration.progress({})
    assert site.told["scope"]["ac"] == 200
    assert site.told["lastDesiredStatus"]["code"] == 200


async def test_restoring_does_not_keep_again(site: Site) -> None:
    """At start the kept document is in force before any hub was reached."""
    await site.configuration.restore({"mode": "ReadWrite"}, 9)
    assert site.configuration.desired.mode is Mode.READ_WRITE
    assert (site.configuration.version, site.kept) == (9, [])


async def test_a_kept_document_that_is_refused_leaves_the_defaults(site: Site) -> None:
    """After a downgrade the replica starts, and says why it does not do what it did."""
    await site.configuration.restore({"schemaVersion": "9.0"}, 9)
    assert site.configuration.desired == Desired()
    assert "schemaVersion" in site.told["lastDesiredStatus"]["description"]


async def test_documents_are_taken_one_after_the_other(site: Site) -> None:
    """Two that arrive together end with the later one in force."""
    results = await asyncio.gather(
        site.configuration.receive({"mode": "ReadWrite"}, 1),
        site.configuration.receive({"anonymousPull": True}, 2),
    )
    assert results == [True, True]
    assert site.configuration.version == 2
    assert site.configuration.desired == Desired.parse({"anonymousPull": True})[0]
