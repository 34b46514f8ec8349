"""Reporting in patches."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from connected_registry.edge.acknowledgement import acknowledge
from connected_registry.edge.patch import Document, merge_patch
from connected_registry.edge.report import QUIET_INTERVAL, Reporter, patience
from connected_registry.edge.reported import (
    Cache,
    ConnectionState,
    Facts,
    Progress,
    RepositoryStatus,
    SyncStatus,
)
from connected_registry.edge.twin import Desired

SECOND = timedelta(seconds=1)


class Site:
    """Facts that a test changes, and a twin that takes the patches."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.facts: dict[str, Any] = {"connection_state": ConnectionState.ONLINE, "version": "1"}
        self.twin: Document = {}
        self.patches: list[Document] = []
        self.fails = False
        self.delivered = asyncio.Event()
        self.reporter = Reporter(
            self.gather, self.deliver, clock=lambda: self.now, interval=timedelta(0)
        )

    async def gather(self) -> Facts:
        """What is so now."""
        return Facts(**self.facts)

    async def deliver(self, patch: Document, document: Document) -> None:
        """Merge as the hub does."""
        if self.fails:
            raise OSError("away")
        self.patches.append(patch)
        self.twin = merge_patch(self.twin, patch)
        assert self.twin == document
        self.delivered.set()


async def test_the_first_report_is_whole_and_the_next_a_difference() -> None:
    """After everything was told once, only what changed is."""
    site = Site()
    await site.reporter.report()
    site.now += SECOND
    site.facts["connection_state"] = ConnectionState.OFFLINE
    await site.reporter.report()
    assert site.patches[0]["version"] == "1"
    assert site.patches[1] == {"connectionState": "Offline"}


async def test_what_is_gone_is_removed() -> None:
    """Progress that ended is a null in the patch and gone from the twin."""
    site = Site()
    site.facts["sync"] = SyncStatus(progress=Progress(phase="fetching"))
    await site.reporter.report()
    site.now += timedelta(seconds=5)
    site.facts["sync"] = SyncStatus()
    await site.reporter.report()
    assert site.patches[1] == {"sync": {"progress": None}}
    assert "progress" not in site.twin["sync"]


async def test_nothing_new_is_not_reported() -> None:
    """A touch without a change sends nothing and looks again later."""
    site = Site()
    await site.reporter.report()
    assert await site.reporter.report() == QUIET_INTERVAL
    assert len(site.patches) == 1


async def test_progress_alone_is_told_every_five_seconds() -> None:
    """Progress waits for its time; any other news takes it along at once."""
    site = Site()
    site.facts["sync"] = SyncStatus(progress=Progress(phase="fetching"))
    await site.reporter.report()
    site.facts["sync"] = SyncStatus(progress=Progress(phase="fetching", images_done=1))
    site.now += SECOND
    assert await site.reporter.report() == timedelta(seconds=4)
    assert len(site.patches) == 1
    site.facts["connection_state"] = ConnectionState.SYNCING
    await site.reporter.report()
    assert site.patches[1] == {
        "connectionState": "Syncing",
        "sync": {"progress": {"imagesDone": 1}},
    }


def test_free_bytes_wait_longest() -> None:
    """What changes all the time by itself does not cause patches every few seconds."""
    assert patience({"cache": {"freeBytes": 1}}) == QUIET_INTERVAL
    assert patience({"cache": {"freeBytes": 1, "tags": 2}}) == SECOND
    assert patience({"sync": {"progress": {"x": 1}}, "cache": {"freeBytes": 1}}) == 5 * SECOND


async def test_a_clock_set_back_does_not_stop_reports() -> None:
    """A report that is due in an hour because the clock jumped is told now."""
    site = Site()
    await site.reporter.report()
    site.now -= timedelta(hours=1)
    site.facts["connection_state"] = ConnectionState.OFFLINE
    await site.reporter.report()
    assert site.twin["connectionState"] == "Offline"


async def test_a_failed_delivery_is_made_up_for() -> None:
    """What did not arrive is part of the next patch."""
    site = Site()
    await site.reporter.report()
    site.now += SECOND
    site.facts["connection_state"] = ConnectionState.OFFLINE
    site.fails = True
    try:
        await site.reporter.report()
    except OSError:
        site.fails = False
    await site.reporter.report()
    assert site.twin["connectionState"] == "Offline"


async def test_what_the_hub_holds_is_taken_as_known() -> None:
    """After a reconnect only the difference to the hub's twin is told, removals included."""
    site = Site()
    await site.reporter.report()
    whole = dict(site.twin)
    site.twin = {**whole, "old": 1}
    site.reporter.reset({"$version": 8, **site.twin})
    await site.reporter.report()
    assert site.patches[1] == {"old": None}
    assert site.twin == whole


async def test_acknowledgements_are_reported_and_kept() -> None:
    """An answer to one property leaves the others' answers as they are."""
    site = Site()
    site.reporter.acknowledge(acknowledge({}, Desired(), 1))
    site.reporter.acknowledge({"mode": {"value": "ReadOnly", "ac": 400, "av": 2, "ad": "no"}})
    await site.reporter.report()
    assert (site.twin["mode"]["ac"], site.twin["scope"]["ac"]) == (400, 203)


async def test_status_is_uncut() -> None:
    """What the twin has no room for is still answered to who asks."""
    site = Site()
    site.facts["repositories"] = tuple(
        RepositoryStatus(name=f"team/app{n}", state_digest="sha256:" + "0" * 64) for n in range(400)
    )
    await site.reporter.report()
    assert len((await site.reporter.status())["repositories"]) == 400
    assert site.twin["repositoriesOmitted"] > 0


async def test_touching_wakes_the_job() -> None:
    """A change is told as soon as it is made known, without waiting for the next look."""
    site = Site()
    async with asyncio.TaskGroup() as group:
        job = group.create_task(site.reporter.run())
        await site.delivered.wait()
        site.delivered.clear()
        site.now += SECOND
        site.facts["cache"] = Cache(tags=5)
        site.reporter.touch()
        await site.delivered.wait()
        assert site.twin["cache"]["tags"] == 5
        job.cancel()
