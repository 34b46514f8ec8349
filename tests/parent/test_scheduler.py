"""When syncs start, on a clock that runs as fast as the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from connected_registry.errors import SyncRefused
from connected_registry.parent.occasion import LONGEST_BACKOFF, Trigger
from connected_registry.parent.result import SyncState
from connected_registry.parent.scheduler import Scheduler
from connected_registry.parent.sync import LONGEST_SLEEP, Orders
from connected_registry.policy.sync import ByteBudget, SyncPolicy
from peers.images import make_image
from peers.proxy import CountingProxy
from peers.scripted import HONEST, Reply, ScriptedRegistry
from peers.site import Site, rules

NOON = datetime(2030, 5, 17, 12, 0, 10, tzinfo=UTC)
NIGHTLY = SyncPolicy(schedule="0 2 * * *", window=timedelta(hours=3))


class Shift:
    """A site with its scheduler running; sleeping moves the site's clock on."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.naps: list[float] = []
        self.uptime = 0.0
        self.scheduler = Scheduler(
            site.synchronizer,
            site.ledger,
            orders=lambda: Orders(site.scope, site.policy, site.mode),
            clock=site.clock,
            monotonic=lambda: self.uptime,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        assert 0 <= seconds <= LONGEST_SLEEP
        # Nothing may be missed by a test that looks between two naps.
        await asyncio.sleep(0.001)
        self.naps.append(seconds)
        self.uptime += seconds
        assert self.site.clock.now is not None
        self.site.clock.now += timedelta(seconds=seconds)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass."""
        while not condition():
            await asyncio.sleep(0.0005)

    async def pass_time(self, duration: timedelta) -> None:
        """Let so much time pass while nothing runs."""
        end = self.uptime + duration.total_seconds()
        await self.until(lambda: self.uptime >= end and self.site.synchronizer.running is None)

    @property
    def triggers(self) -> list[str]:
        """Of every run so far, oldest first."""
        return [run.trigger for run in reversed(self.site.ledger.runs())]

    @property
    def starts(self) -> list[datetime]:
        """Of every run so far, oldest first."""
        return [run.started_at for run in reversed(self.site.ledger.runs())]


@asynccontextmanager
async def on_shift(site: Site, now: datetime = NOON) -> AsyncIterator[Shift]:
    """Run the scheduler of a site."""
    site.clock.now = site.clock.now or now
    async with site:
        shift = Shift(site)
        job = asyncio.create_task(shift.scheduler.run())
        try:
            yield shift
            assert not job.done()
        finally:
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job


async def test_a_fresh_replica_syncs_at_once_and_then_each_minute(tmp_path: Path) -> None:
    """Continuous: InitialSync at start, then one run a minute."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        async with on_shift(Site(tmp_path / "site", parent.address, rules("team/app"))) as shift:
            await shift.until(lambda: len(shift.triggers) == 3)
            assert shift.triggers == ["InitialSync", "Schedule", "Schedule"]
            assert shift.starts[0] == NOON
            assert [start.replace(second=0, microsecond=0) for start in shift.starts[1:]] == [
                NOON.replace(minute=1, second=0),
                NOON.replace(minute=2, second=0),
            ]


async def test_a_window_gets_one_sync_an_occurrence(tmp_path: Path) -> None:
    """Nothing before the window opens, one run at its start, and no more until the next."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"), NIGHTLY)
        async with on_shift(site) as shift:
            assert shift.scheduler.next_sync() == NOON.replace(day=18, hour=2, second=0)
            await shift.pass_time(timedelta(hours=40))
            assert shift.triggers == ["InitialSync", "Schedule"]
            starts = [start - start.replace(hour=2, minute=0, second=0) for start in shift.starts]
            assert all(timedelta() <= late <= timedelta(minutes=1) for late in starts)


async def test_a_failure_in_the_window_is_made_up_for_in_the_window(tmp_path: Path) -> None:
    """An image that failed is tried again before the window closes."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        path = f"/v2/team/app/blobs/{image.layers[0].digest}"
        parent.on(path, Reply.error(404, "BLOB_UNKNOWN"), HONEST)
        site = Site(tmp_path / "site", parent.address, rules("team/app"), NIGHTLY)
        async with on_shift(site, NOON.replace(hour=2)) as shift:
            await shift.until(lambda: "1.0" in site.tags("team/app"))
            assert len(shift.triggers) == 2
            assert shift.starts[1] - shift.starts[0] < timedelta(minutes=2)


async def test_an_absent_parent_is_asked_ever_less_often(tmp_path: Path) -> None:
    """Delays grow to the limit; once it is back the next try catches up by itself."""
    with ScriptedRegistry() as parent, CountingProxy("127.0.0.1", parent.port) as link:
        parent.hold(make_image("app"), "team/app", "1.0")
        link.refuse()
        site = Site(tmp_path / "site", link.address, rules("team/app"))
        async with on_shift(site) as shift:
            await shift.until(lambda: len(shift.triggers) >= 8)
            starts = shift.starts
            gaps = [later - sooner for sooner, later in pairwise(starts)]
            assert gaps[0] <= timedelta(seconds=6)
            assert LONGEST_BACKOFF / 2 <= gaps[-1] <= LONGEST_BACKOFF + timedelta(seconds=1)
            await shift.until(lambda: shift.scheduler.state is SyncState.FAILED)
            link.heal()
            await shift.until(lambda: "1.0" in site.tags("team/app"))


async def test_a_request_does_not_wait_for_the_back_off(tmp_path: Path) -> None:
    """Asked by hand, an absent parent is tried at once."""
    with ScriptedRegistry() as parent, CountingProxy("127.0.0.1", parent.port) as link:
        parent.hold(make_image("app"), "team/app", "1.0")
        link.refuse()
        site = Site(tmp_path / "site", link.address, rules("team/app"), NIGHTLY)
        async with on_shift(site, NOON.replace(hour=2)) as shift:
            await shift.until(lambda: len(shift.triggers) >= 6)
            link.heal()
            before = shift.uptime
            correlation_id = shift.scheduler.request()
            await shift.until(lambda: site.synchronizer.running is None)
            assert site.synchronizer.last is not None
            assert site.synchronizer.last.correlation_id == correlation_id
            assert site.synchronizer.last.state is SyncState.SUCCEEDED
            assert shift.uptime - before <= 2 * LONGEST_SLEEP


async def test_nothing_starts_while_the_twin_says_paused(tmp_path: Path) -> None:
    """A request is refused with what to do; unpaused, the sync starts."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"), SyncPolicy(paused=True))
        async with on_shift(site) as shift:
            await shift.pass_time(timedelta(hours=1))
            assert (shift.triggers, parent.requests) == ([], [])
            assert shift.scheduler.next_sync() is None
            with pytest.raises(SyncRefused, match=r"sync\.paused"):
                shift.scheduler.request()
            assert (await site.plan()).images
            site.policy = SyncPolicy()
            shift.scheduler.changed()
            await shift.until(lambda: shift.triggers == ["InitialSync"])


async def test_a_pause_stops_the_run_and_outlasts_a_restart(tmp_path: Path) -> None:
    """What came is kept; nothing starts until resumed."""
    image = make_image("app", size=400_000)
    layer = image.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        path = f"/v2/team/app/blobs/{layer.digest}"
        parent.on(path, Reply(200, {}, layer.data, drip=(65_536, 0.02), endless=True))
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with on_shift(site) as shift:
            await shift.until(lambda: site.synchronizer.progress().bytes_done > 100_000)
            await shift.scheduler.pause()
            await shift.until(lambda: site.synchronizer.running is None)
            assert site.synchronizer.last is not None
            assert site.synchronizer.last.stopped == "paused"
            assert shift.scheduler.state is SyncState.PENDING
        parent.on(path, HONEST)
        async with on_shift(site) as shift:
            with pytest.raises(SyncRefused, match="resumeSync"):
                shift.scheduler.request()
            await shift.pass_time(timedelta(minutes=10))
            assert len(shift.triggers) == 1
            await shift.scheduler.resume()
            await shift.until(lambda: "1.0" in site.tags("team/app"))


async def test_a_changed_scope_is_synced_at_once(tmp_path: Path) -> None:
    """The run says ScopeUpdate; one under way makes room."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        parent.hold(make_image("web"), "team/web", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with on_shift(site) as shift:
            await shift.until(lambda: "1.0" in site.tags("team/app"))
            await shift.until(lambda: site.synchronizer.running is None)
            site.scope = rules("team/app", "team/web")
            assert site.synchronizer.completeness.in_sync == "unknown"
            shift.scheduler.changed(Trigger.SCOPE)
            await shift.until(lambda: "1.0" in site.tags("team/web"))
            assert "ScopeUpdate" in shift.triggers


async def test_a_changed_scope_waits_for_the_window(tmp_path: Path) -> None:
    """Nothing moves while the window is closed; when it opens, the run has the new name."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"), NIGHTLY)
        async with on_shift(site) as shift:
            shift.scheduler.changed(Trigger.SCOPE)
            await shift.pass_time(timedelta(hours=20))
            assert shift.triggers == ["ScopeUpdate"]
            assert shift.starts[0].hour == 2


async def test_out_of_budget_waits_for_the_next_period(tmp_path: Path) -> None:
    """No request is made before there is a budget again."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app", size=300_000), "team/app", "1.0")
        budget = ByteBudget(bytes=200_000, per=timedelta(hours=6))
        site = Site(
            tmp_path / "site", parent.address, rules("team/app"), SyncPolicy(byte_budget=budget)
        )
        async with on_shift(site) as shift:
            await shift.until(lambda: "1.0" in site.tags("team/app"))
            assert len(shift.triggers) == 2
            assert shift.starts[1] - NOON.replace(hour=18, second=0) < timedelta(minutes=1)
            assert image.layers[0].digest


async def test_a_cancelled_run_is_not_started_again_at_once(tmp_path: Path) -> None:
    """Whoever cancelled in a window has until the next occurrence."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        path = f"/v2/team/app/blobs/{image.layers[0].digest}"
        parent.on(path, Reply(hang=True))
        site = Site(tmp_path / "site", parent.address, rules("team/app"), NIGHTLY)
        async with on_shift(site, NOON.replace(hour=2)) as shift:
            await shift.until(lambda: bool(parent.asked(path)))
            site.synchronizer.cancel()
            await shift.pass_time(timedelta(hours=3))
            assert len(shift.triggers) == 1


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_clock_that_jumps_does_not_stop_syncs(tmp_path: Path, years: int) -> None:
    """After a jump either way the replica goes on syncing within minutes of uptime."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with on_shift(site) as shift:
            await shift.until(lambda: len(shift.triggers) == 2)
            await shift.until(lambda: site.synchronizer.running is None)
            assert site.clock.now is not None
            site.clock.now += timedelta(days=365 * years)
            parent.hold(make_image("later"), "team/app", "1.1")
            uptime = shift.uptime
            await shift.until(lambda: "1.1" in site.tags("team/app"))
            assert shift.uptime - uptime < 180


async def test_long_silence_leads_to_recovery(tmp_path: Path) -> None:
    """After more than the message TTL everything is compared again."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with on_shift(site) as shift:
            await shift.until(lambda: len(shift.triggers) == 1)
            await shift.until(lambda: site.synchronizer.running is None)
        (site.path / "blobs/sha256" / image.layers[0].digest[7:]).unlink()
        assert site.clock.now is not None
        site.clock.now += timedelta(days=3)
        async with on_shift(site) as shift:
            await shift.until(lambda: "RecoveryService" in shift.triggers)
            await shift.until(lambda: site.synchronizer.running is None)
            assert site.is_whole("team/app", "1.0")


async def test_the_state_before_any_sync(tmp_path: Path) -> None:
    """A replica that never synced is NotActivated; one that did in an earlier life is Pending."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with site:
            assert Shift(site).scheduler.state is SyncState.NOT_ACTIVATED
            await site.sync()
            assert Shift(site).scheduler.state is SyncState.SUCCEEDED
        async with site:
            assert Shift(site).scheduler.state is SyncState.PENDING
            assert Shift(site).scheduler.last_success is not None
