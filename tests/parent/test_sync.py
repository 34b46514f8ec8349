from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connected_registry.errors import ParentOffline
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.occasion import Trigger
from connected_registry.parent.result import SyncState
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import RepositoryRule, Scope
from connected_registry.policy.sync import ByteBudget, SyncPolicy
from peers.images import Image, make_artifact, make_image, make_layer, make_platforms
from peers.proxy import CountingProxy
from peers.scripted import HONEST, Recorded, Reply, ScriptedRegistry
from peers.site import Site, rules

BLOB = re.compile(r"/v2/.+/blobs/.+")
MANIFEST = re.compile(r"/v2/.+/manifests/.+")


def bodies(requests: list[Recorded], path: re.Pattern[str]) -> list[str]:
    """Paths of the bodies asked for."""
    return [each.path for each in requests if each.method == "GET" and path.fullmatch(each.path)]


async def test_an_image_arrives_whole_with_all_its_platforms(tmp_path: Path) -> None:
    """Without platforms in the rule an index comes with every image it names."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            result = await site.sync()
            assert result.state is SyncState.SUCCEEDED
            assert site.tags("team/app") == {"1.0": image.digest}
            assert site.manifests("team/app") == {each.digest for each in image.everything()}
            for digest, blob in image.all_blobs().items():
                assert site.blob("team/app", digest) == blob.data


async def test_exactly_the_asked_set_arrives(tmp_path: Path) -> None:
    """Of 3 repositories, 12 tags and 3 platforms, only what the rules select is here."""
    images: dict[tuple[str, str], Image] = {}
    with ScriptedRegistry() as parent:
        for repository in ("team/app", "team/web", "other/db"):
            for tag in ("1.0", "1.1", "2.0", "dev"):
                made = make_platforms(f"{repository} {tag}")
                images[repository, tag] = parent.hold(made, repository, tag)
        scope = Scope(
            repositories=(
                RepositoryRule(name="team/app", tags=("1.*",), platforms=("linux/arm64",)),
                RepositoryRule(
                    name="team/web", exclude_tags=("dev",), platforms=("linux/amd64", "linux/arm")
                ),
            )
        )
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            app = [images["team/app", tag] for tag in ("1.0", "1.1")]
            assert site.tags("team/app") == {"1.0": app[0].digest, "1.1": app[1].digest}
            assert site.manifests("team/app") == {
                digest for index in app for digest in (index.digest, index.children[1].digest)
            }
            assert site.tags("team/web").keys() == {"1.0", "1.1", "2.0"}
            assert site.tags("other/db") == {}
            assert site.registry.list_repositories().items == ("team/app", "team/web")
            wanted = {blob for index in app for blob in index.children[1].all_blobs()}
            for tag in ("1.0", "1.1", "2.0"):
                for child in (images["team/web", tag].children[n] for n in (0, 2)):
                    wanted |= child.all_blobs().keys()
            stored = {f"sha256:{path.name}" for path in (site.path / "blobs/sha256").iterdir()}
            assert stored - site.manifests("team/app") - site.manifests("team/web") == wanted


async def test_an_index_keeps_its_bytes_when_platforms_are_left_out(tmp_path: Path) -> None:
    """A sparse index has the digest and the bytes it has at the parent."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        scope = rules("team/app", platforms=("linux/arm64",))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            held = site.registry.resolve(RepositoryName("team/app"), Tag("1.0"))
            assert held.content == image.manifest.data
            assert not site.is_whole("team/app", "1.0")


async def test_the_plan_predicts_what_the_sync_does(tmp_path: Path) -> None:
    """Images, blobs and bytes of the plan are those of the sync that follows it."""
    shared = make_layer(40_000, seed="base")
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(make_image(n, size=20_000 + n, shared=(shared,)), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            plan = await site.plan()
            assert bodies(parent.requests, BLOB) == []
            asked = len(parent.requests)
            result = await site.sync()
            fetched = bodies(parent.requests[asked:], BLOB)
            assert result.images_fetched == len(plan.images) == 4
            assert result.blobs_fetched == len(plan.to_fetch) == len(fetched) == 9
            assert result.bytes_fetched == plan.bytes_to_fetch
            assert bodies(parent.requests[asked:], MANIFEST) == []


async def test_a_second_plan_after_a_cut_counts_what_is_on_disk(tmp_path: Path) -> None:
    """Bytes of an unfinished blob are not predicted again, and not fetched again."""
    image = make_image("app", size=400_000)
    layer = image.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        path = f"/v2/team/app/blobs/{layer.digest}"
        parent.on(path, Reply(200, {}, layer.data, cut=150_000), Reply.error(500, "UNKNOWN"))
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            assert (await site.sync()).state is SyncState.FAILED
            parent.on(path, HONEST)
            plan = await site.plan()
            assert plan.bytes_to_fetch == layer.size - 150_000
            assert plan.bytes_held == 150_000 + image.blobs[0].size
            result = await site.sync()
            assert (result.state, result.bytes_fetched) == ("Succeeded", plan.bytes_to_fetch)


@pytest.mark.parametrize("acr", [False, True])
async def test_a_second_sync_fetches_nothing_when_nothing_changed(
    tmp_path: Path, acr: bool
) -> None:
    """No blob and no manifest body; with Azure's listing one request does for a repository."""
    with ScriptedRegistry(acr=acr) as parent:
        for n in range(5):
            parent.hold(make_platforms(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            asked = len(parent.requests)
            result = await site.sync(Trigger.SCHEDULE)
            later = parent.requests[asked:]
            assert result.images_current == 5
            assert bodies(later, BLOB) == bodies(later, MANIFEST) == []
            assert len(later) == (1 if acr else 6)


async def test_a_restart_asks_no_more_than_a_second_sync(tmp_path: Path) -> None:
    """What is known is known after a restart."""
    with ScriptedRegistry(acr=True) as parent:
        parent.hold(make_platforms("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with site:
            await site.sync()
        asked = len(parent.requests)
        async with site:
            assert (await site.sync(Trigger.SCHEDULE)).images_current == 1
        assert len(parent.requests) == asked + 1


async def test_manifests_fetched_by_a_plan_are_not_fetched_after_a_restart(tmp_path: Path) -> None:
    """A plan's manifests are kept, invisible, for the sync of another process."""
    with ScriptedRegistry() as parent:
        parent.hold(make_platforms("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with site:
            await site.plan()
            assert site.tags("team/app") == {}
            assert site.manifests("team/app") == set()
        asked = len(parent.requests)
        async with site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
        assert bodies(parent.requests[asked:], MANIFEST) == []


async def test_one_bad_image_does_not_hold_the_others_back(tmp_path: Path) -> None:
    """An image whose blob is gone at the parent fails alone, and the ledger says why."""
    with ScriptedRegistry() as parent:
        good = parent.hold(make_image("good"), "team/app", "good")
        bad = parent.hold(make_image("bad"), "team/app", "bad")
        path = f"/v2/team/app/blobs/{bad.layers[0].digest}"
        parent.on(path, Reply.error(404, "BLOB_UNKNOWN"))
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            result = await site.sync()
            assert result.state is SyncState.FAILED
            assert [(each.name, each.reason) for each in result.failures] == [
                ("team/app:bad", "moved at the parent")
            ]
            assert site.tags("team/app") == {"good": good.digest}
            states = {each.tag: each.state for each in site.ledger.images()}
            assert states == {"good": "synced", "bad": "failed"}
            assert site.synchronizer.completeness.in_sync == "false"
            assert site.synchronizer.completeness.missing_images == 1
            parent.on(path, HONEST)
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.synchronizer.completeness.in_sync == "true"


async def test_a_manifest_that_is_none_fails_alone(tmp_path: Path) -> None:
    """Broken JSON under one tag leaves the other tags of its repository alone."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("good"), "team/app", "good")
        bad = parent.hold(make_image("bad"), "team/app", "bad")
        held = parent._repositories["team/app"]
        broken = Image(type(bad.manifest)(bad.manifest.media_type, b'{"schemaVersion": 2,'))
        held.manifests[broken.digest] = (bad.manifest.media_type, broken.manifest.data)
        held.tags["bad"] = broken.digest
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            result = await site.sync()
            assert [(each.name, each.reason) for each in result.failures] == [
                ("team/app:bad", "invalid")
            ]
            assert site.tags("team/app").keys() == {"good"}


async def test_wrong_bytes_are_never_shown_and_not_fetched_again_soon(tmp_path: Path) -> None:
    """A lying parent costs a blob once; scheduled syncs then leave the image alone for a while."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app", size=50_000), "team/app", "1.0")
        layer = image.layers[0]
        path = f"/v2/team/app/blobs/{layer.digest}"
        parent.on(path, Reply(200, {}, bytes(layer.size)))
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            first = await site.sync(Trigger.SCHEDULE)
            assert [each.reason for each in first.failures] == ["lying"]
            second = await site.sync(Trigger.SCHEDULE)
            assert [each.reason for each in second.failures] == ["lying"]
            assert len(parent.asked(path)) == 1
            assert site.tags("team/app") == {}
            assert site.synchronizer.completeness.in_sync == "false"
            parent.on(path, HONEST)
            assert (await site.sync(Trigger.MANUAL)).state is SyncState.SUCCEEDED


async def test_a_shared_blob_comes_once(tmp_path: Path) -> None:
    """Images of several repositories that share a layer fetch it once between them."""
    base = make_layer(300_000, seed="base")
    with ScriptedRegistry() as parent:
        for repository in ("team/app", "team/web", "team/db"):
            parent.hold(make_image(repository, shared=(base,)), repository, "1.0")
        scope = rules("team/app", "team/web", "team/db")
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            fetched = bodies(parent.requests, BLOB)
            assert len([path for path in fetched if path.endswith(base[0].digest)]) == 1
            for repository in ("team/app", "team/web", "team/db"):
                assert site.blob(repository, base[0].digest) == base[0].data


async def test_a_tag_moved_while_syncing_never_shows_a_half_image(tmp_path: Path) -> None:
    """The tag names the old image, then the one that was planned, then the newer; each whole."""
    with ScriptedRegistry() as parent:
        old = parent.hold(make_platforms("old"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            new = parent.hold(make_platforms("new", size=200_000), "team/app", "1.0")
            newest = make_platforms("newest")
            seen: list[tuple[str, bool]] = []

            def look(request: Recorded) -> Reply:
                parent.hold(newest, "team/app", "1.0")
                seen.append((site.tags("team/app")["1.0"], site.is_whole("team/app", "1.0")))
                return HONEST

            for blob in new.all_blobs():
                parent.on(f"/v2/team/app/blobs/{blob}", look)
            await site.sync()
            assert set(seen) == {(old.digest, True)}
            assert site.tags("team/app") == {"1.0": new.digest}
            assert site.is_whole("team/app", "1.0")
            await site.sync()
            assert site.tags("team/app") == {"1.0": newest.digest}
            assert site.is_whole("team/app", "1.0")


async def test_the_old_image_serves_when_the_new_one_is_collected_at_the_parent(
    tmp_path: Path,
) -> None:
    """A moved tag whose new image is gone half-way keeps the old one, and says so."""
    with ScriptedRegistry() as parent:
        old = parent.hold(make_image("old"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            new = parent.hold(make_image("new"), "team/app", "1.0")
            gone = Reply.error(404, "BLOB_UNKNOWN")
            parent.on(f"/v2/team/app/blobs/{new.layers[0].digest}", gone)
            result = await site.sync()
            assert [each.reason for each in result.failures] == ["moved at the parent"]
            assert site.tags("team/app") == {"1.0": old.digest}


async def test_a_stopped_parent_is_reported_and_takes_nothing_away(tmp_path: Path) -> None:
    """Offline since when, across a restart; what is here stays; the next sync catches up."""
    with ScriptedRegistry() as parent, CountingProxy("127.0.0.1", parent.port) as link:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        site = Site(tmp_path / "site", link.address, rules("team/app"))
        async with site:
            await site.sync()
            assert site.synchronizer.connection.online is True
            link.refuse()
            result = await site.sync()
            assert (result.state, result.error_kind) == (SyncState.FAILED, "offline")
            since = site.synchronizer.connection.since
            with pytest.raises(ParentOffline):
                await site.plan()
            assert site.tags("team/app") == {"1.0": image.digest}
            assert site.synchronizer.completeness.in_sync == "true"
        async with site:
            assert site.synchronizer.connection.online is False
            assert site.synchronizer.connection.since == since
            parent.hold(make_image("newer"), "team/app", "1.1")
            link.heal()
            assert (await site.sync()).images_fetched == 1
            assert site.synchronizer.connection.online is True


async def test_a_repository_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A 404 for a whole repository deletes nothing, and the others are synced."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        web = parent.hold(make_image("web"), "team/web", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app", "team/web")) as site:
            await site.sync()
            parent.on("/v2/team/web/tags/list", Reply.error(404, "NAME_UNKNOWN"))
            parent.hold(make_image("app 2"), "team/app", "2.0")
            result = await site.sync()
            assert [(each.name, each.reason) for each in result.failures] == [
                ("team/web", "not found")
            ]
            assert site.tags("team/web") == {"1.0": web.digest}
            assert site.tags("team/app").keys() == {"1.0", "2.0"}
            assert site.synchronizer.completeness.in_sync == "unknown"


async def test_a_budget_stops_cleanly_and_the_next_period_goes_on(tmp_path: Path) -> None:
    """Spent bytes are kept; a sync in the same period fetches nothing; the next one finishes."""
    image = make_image("app", size=600_000)
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        budget = ByteBudget(bytes=400_000, per=timedelta(days=1))
        site = Site(
            tmp_path / "site", parent.address, rules("team/app"), SyncPolicy(byte_budget=budget)
        )
        site.clock.now = datetime(2030, 1, 1, 12, tzinfo=UTC)
        async with site:
            first = await site.sync()
            assert (first.state, first.stopped) == (SyncState.PENDING, "budget")
            assert 400_000 * 0.95 <= site.client.bytes_received <= 400_000 + 70_000
            assert site.tags("team/app") == {}
        asked = len(parent.requests)
        async with site:
            assert (await site.sync()).stopped == "budget"
            assert len(parent.requests) == asked
            site.clock.now += timedelta(days=1)
            last = await site.sync()
            assert last.state is SyncState.SUCCEEDED
            everything = sum(blob.size for blob in image.blobs)
            assert first.bytes_fetched + last.bytes_fetched == everything


async def test_the_end_of_the_window_stops_the_run_and_keeps_what_came(tmp_path: Path) -> None:
    """At the deadline the run is TimedOut, its partial stays, and the next run goes on there."""
    image = make_image("app", size=600_000)
    layer = image.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        path = f"/v2/team/app/blobs/{layer.digest}"
        parent.on(path, Reply(200, {}, layer.data, drip=(65_536, 0.02), endless=True))
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        site.clock.now = datetime(2030, 1, 1, 12, tzinfo=UTC)
        async with site:
            site.synchronizer.start(
                Trigger.SCHEDULE, deadline=site.clock.now + timedelta(minutes=5)
            )
            while site.synchronizer.progress().bytes_done < 100_000:
                await asyncio.sleep(0.005)
            site.clock.now += timedelta(minutes=6)
            result = await site.synchronizer.wait()
            assert result is not None
            assert (result.state, result.stopped) == (SyncState.TIMED_OUT, "window")
            assert result.images_left == 1
            parent.on(path, HONEST)
            again = await site.sync()
            assert again.state is SyncState.SUCCEEDED
            assert result.bytes_fetched + again.bytes_fetched == sum(b.size for b in image.blobs)


async def test_a_restart_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    """Images that are in stay in; the unfinished blob continues; the old run is interrupted."""
    first, second = make_image("first"), make_image("second", size=600_000)
    layer = second.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(first, "team/app", "first")
        parent.hold(second, "team/app", "second")
        path = f"/v2/team/app/blobs/{layer.digest}"
        parent.on(path, Reply(200, {}, layer.data, drip=(65_536, 0.02), endless=True))
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with site:
            site.synchronizer.start(Trigger.SCHEDULE)
            while (seen := site.synchronizer.progress()).images_done < 1 or (
                seen.bytes_done < 100_000
            ):
                await asyncio.sleep(0.005)
        parent.on(path, HONEST)
        async with site:
            assert site.tags("team/app") == {"first": first.digest}
            result = await site.sync()
            assert result.state is SyncState.SUCCEEDED
            ranges = [each.headers.get("range") for each in parent.asked(path)]
            assert ranges[0] is None
            assert int(str(ranges[1]).removeprefix("bytes=").removesuffix("-")) >= 100_000
            assert site.blob("team/app", layer.digest) == layer.data


async def test_only_one_sync_runs_at_a_time(tmp_path: Path) -> None:
    """Asked again while it runs, the synchronizer gives the id of the run under way."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            first = site.synchronizer.start(Trigger.MANUAL)
            assert site.synchronizer.start(Trigger.SCHEDULE) == first
            assert site.synchronizer.running == first
            result = await site.synchronizer.wait()
            assert result is not None
            assert result.correlation_id == first
            assert site.synchronizer.running is None
            assert [run.state for run in site.ledger.runs()] == ["succeeded"]


async def test_cancelling_keeps_what_came(tmp_path: Path) -> None:
    """A cancelled run ends at once, says so, and leaves nothing half visible."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        parent.on(f"/v2/team/app/blobs/{image.layers[0].digest}", Reply(hang=True))
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            site.synchronizer.start(Trigger.MANUAL)
            while site.synchronizer.progress().phase != "fetching":
                await asyncio.sleep(0.005)
            assert site.synchronizer.cancel()
            result = await site.synchronizer.wait()
            assert result is not None
            assert result.stopped == "cancelled"
            assert site.tags("team/app") == {}
            assert not site.synchronizer.cancel()


async def test_some_repositories_can_be_synced_alone(tmp_path: Path) -> None:
    """Named repositories are synced; one outside the scope is refused by name."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        parent.hold(make_image("web"), "team/web", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app", "team/web")) as site:
            result = await site.sync(repositories=["team/web", "other/db"])
            assert [(each.name, each.reason) for each in result.failures] == [
                ("other/db", "out of scope")
            ]
            assert site.tags("team/web").keys() == {"1.0"}
            assert site.tags("team/app") == {}
            assert site.synchronizer.completeness.in_sync == "unknown"


async def test_a_resync_repairs_what_is_gone_from_disk(tmp_path: Path) -> None:
    """A blob that was lost is found missing and fetched again."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            lost = site.path / "blobs/sha256" / image.layers[0].digest.removeprefix("sha256:")
            lost.unlink()
            assert (await site.sync(Trigger.SCHEDULE)).images_fetched == 0
            result = await site.sync(resync=True)
            assert (result.images_fetched, result.blobs_fetched) == (1, 1)
            assert site.is_whole("team/app", "1.0")


async def test_patterns_take_the_parents_catalogue(tmp_path: Path) -> None:
    """A pattern brings every repository it matches and no other."""
    with ScriptedRegistry() as parent:
        for name in ("team/app", "team/web", "other/db"):
            parent.hold(make_image(name), name, "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/*")) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.registry.list_repositories().items == ("team/app", "team/web")


async def test_a_refused_catalogue_fails_only_the_patterns(tmp_path: Path) -> None:
    """The rule with a pattern says what it needs; exact names are synced."""
    with ScriptedRegistry() as parent:
        parent.on("/v2/_catalog", Reply.error(403, "DENIED"))
        parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/*", "team/app")) as site:
            result = await site.sync()
            assert [(each.name, each.reason) for each in result.failures] == [
                ("team/*", "unauthorized")
            ]
            assert "catalogue" in result.failures[0].detail
            assert site.tags("team/app").keys() == {"1.0"}


async def test_priority_comes_first_then_the_small(tmp_path: Path) -> None:
    """Order of arrival: by priority, within it by size."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("large", size=300_000), "team/large", "1.0")
        parent.hold(make_image("small", size=1_000), "team/small", "1.0")
        parent.hold(make_image("vital", size=400_000), "team/vital", "1.0")
        scope = Scope(
            repositories=(
                RepositoryRule(name="team/large"),
                RepositoryRule(name="team/small"),
                RepositoryRule(name="team/vital", priority=5),
            )
        )
        policy = SyncPolicy(concurrency=1)
        async with Site(tmp_path / "site", parent.address, scope, policy) as site:
            await site.sync()
            arrived = [facts["repository"] for event, facts in site.events if "digest" in facts]
            assert arrived == ["team/vital", "team/small", "team/large"]


async def test_a_tag_pushed_on_site_is_left_alone_in_readwrite(tmp_path: Path) -> None:
    """In ReadWrite the parent's tag of the same name does not replace what was pushed here."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("theirs"), "team/app", "1.0")
        ours = make_artifact(data=b"ours")
        site = Site(tmp_path / "site", parent.address, rules("team/app"), mode=Mode.READ_WRITE)
        async with site:
            site.push(ours, "team/app", "1.0")
            await site.sync()
            assert site.tags("team/app") == {"1.0": ours.digest}
            site.mode = Mode.READ_ONLY
            await site.sync()
            # It still waits to go up, which no change of mode takes from it.
            assert site.tags("team/app") == {"1.0": ours.digest}


async def test_a_tag_of_an_earlier_mode_follows_the_parent_in_readonly(tmp_path: Path) -> None:
    """What was pushed once and does not wait to go up is the parent's to name."""
    with ScriptedRegistry() as parent:
        theirs = parent.hold(make_image("theirs"), "team/app", "1.0")
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with site:
            site.push(make_artifact(data=b"ours"), "team/app", "1.0")
            await site.sync()
            assert site.tags("team/app") == {"1.0": theirs.digest}


async def test_a_run_cancelled_before_its_first_step_ends_as_any_other(tmp_path: Path) -> None:
    """Started and cancelled in one breath, it is over, and the next one can start."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            site.synchronizer.start(Trigger.MANUAL)
            assert site.synchronizer.cancel()
            result = await site.synchronizer.wait()
            assert result is not None
            assert (result.stopped, site.synchronizer.running) == ("cancelled", None)
            assert parent.requests == []
            assert (await site.sync()).state is SyncState.SUCCEEDED


async def test_a_manifest_that_never_comes_fails_alone(tmp_path: Path) -> None:
    """Something on the way cuts one manifest each time; the other images come."""
    with ScriptedRegistry() as parent:
        bad = parent.hold(make_image("bad"), "team/app", "a-bad")
        parent.hold(make_image("good"), "team/app", "good")
        cut = Reply(200, {"Content-Type": bad.manifest.media_type}, bad.manifest.data, cut=10)
        parent.on(f"/v2/team/app/manifests/{bad.digest}", cut)
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            result = await site.sync()
            assert [(each.name, each.reason) for each in result.failures] == [
                ("team/app:a-bad", "offline")
            ]
            assert site.tags("team/app").keys() == {"good"}
            assert site.synchronizer.connection.online is True


async def test_several_tags_of_one_image_cost_no_more_than_one(tmp_path: Path) -> None:
    """Its manifests and referrers are asked for once."""
    with ScriptedRegistry(referrers=True, acr=True) as parent:
        image = make_platforms("app")
        for tag in ("1", "1.0", "1.0.0", "latest"):
            parent.hold(image, "team/app", tag)
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            assert (await site.sync()).images_fetched == 4
            paths = [each.path for each in parent.requests if "/blobs/" not in each.path]
            assert len(paths) == len(set(paths))


async def test_a_blob_that_never_comes_fails_alone(tmp_path: Path) -> None:
    """Something on the way cuts one blob each time while the parent is well: others come."""
    with ScriptedRegistry() as parent:
        bad = parent.hold(make_image("bad"), "team/app", "a-bad")
        for n in range(4):
            parent.hold(make_image(n, size=2_000), "team/app", f"good-{n}")
        layer = bad.layers[0]
        cut = Reply(200, {}, layer.data, cut=0)
        parent.on(f"/v2/team/app/blobs/{layer.digest}", cut)
        policy = SyncPolicy(concurrency=1)
        async with Site(tmp_path / "site", parent.address, rules("team/app"), policy) as site:
            result = await site.sync()
            assert [(each.name, each.reason) for each in result.failures] == [
                ("team/app:a-bad", "offline")
            ]
            assert len(site.tags("team/app")) == 4
            assert result.error is None


async def test_a_parent_that_goes_away_half_way_ends_the_run(tmp_path: Path) -> None:
    """The images left are not each tried in vain; the next run brings them."""
    with ScriptedRegistry() as parent, CountingProxy("127.0.0.1", parent.port) as link:
        images = [make_image(n, size=1_000 * (n + 1)) for n in range(6)]
        for n, image in enumerate(images):
            parent.hold(image, "team/app", f"v{n}")

        def leave(_request: Recorded) -> Reply:
            link.refuse()
            return HONEST

        path = f"/v2/team/app/blobs/{images[2].layers[0].digest}"
        parent.on(path, leave)
        policy = SyncPolicy(concurrency=1)
        async with Site(tmp_path / "site", link.address, rules("team/app"), policy) as site:
            result = await site.sync()
            assert (result.error_kind, result.images_fetched, result.images_left) == (
                "offline",
                2,
                3,
            )
            assert site.synchronizer.connection.online is False
            link.heal()
            parent.on(path, HONEST)
            assert (await site.sync()).images_fetched == 4
