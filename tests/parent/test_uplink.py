"""What is pushed on site reaches a real registry, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from connected_registry.errors import ParentOffline, ParentReadOnly, SyncStopped
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.conflict import conflict_tag
from connected_registry.policy.mode import Mode
from connected_registry.policy.sync import ByteBudget, Conflicts, SyncPolicy
from peers.distribution import Distribution
from peers.images import Image, make_artifact, make_image, make_layer, make_platforms
from peers.proxy import CountingProxy
from peers.scripted import Reply, ScriptedRegistry
from peers.site import Site, rules
from system.replica import digest_at

REPOSITORY = RepositoryName("team/app")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    """One docker-registry for all tests of this file; each uses a repository of its own."""
    with Distribution(tmp_path_factory.mktemp("parent")) as registry:
        yield registry


@pytest.fixture
async def site(tmp_path: Path, parent: Distribution) -> AsyncIterator[Site]:
    """A ReadWrite replica below ``parent``."""
    site = Site(tmp_path / "site", parent.address, rules("team/*"), mode=Mode.READ_WRITE)
    async with site:
        yield site


def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    name = request.node.originalname.replace("_", "-")
    return f"team/{name[:60]}{abs(hash(request.node.name)) % 10000}"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The test's own repository."""
    return repository(request)


def tags_at(registry: Distribution, name: str) -> dict[str, str | None]:
    """Every tag with its digest at the parent."""
    answer = httpx.get(f"{registry.url}/v2/{name}/tags/list", trust_env=False)
    if answer.status_code == 404:
        return {}
    return {tag: digest_at(registry.url, name, tag) for tag in answer.json()["tags"] or []}


async def test_an_image_goes_up_whole_and_is_then_the_parents(
    site: Site, parent: Distribution, name: str
) -> None:
    """After one pass the parent serves it, nothing waits, and the tag counts as confirmed."""
    image = site.push(make_platforms("app"), name, "1.0")
    await site.carry_up()
    assert len(site.outgoing) == 0
    assert digest_at(parent.url, name, "1.0") == image.digest
    for each in image.everything():
        assert digest_at(parent.url, name, each.digest) == each.digest
        for blob in each.blobs:
            answer = httpx.get(f"{parent.url}/v2/{name}/blobs/{blob.digest}", trust_env=False)
            assert answer.content == blob.data
    details = site.registry.tag_details(RepositoryName(name)).items[0]
    assert (details.origin, details.confirmed_at is not None) == ("parent", True)


async def test_a_tag_ends_up_at_its_last_digest_and_all_digests_arrive(
    site: Site, parent: Distribution, name: str
) -> None:
    """Many moves of one tag keep their order; what it named in between stays pullable."""
    images = [site.push(make_image(n), name, "latest") for n in range(12)]
    await site.carry_up()
    assert digest_at(parent.url, name, "latest") == images[-1].digest
    assert all(digest_at(parent.url, name, each.digest) for each in images)


async def test_a_tag_taken_away_here_goes_there_and_its_manifest_stays(
    site: Site, parent: Distribution, name: str
) -> None:
    """Also at a registry that can only delete whole manifests."""
    image = site.push(make_image("app"), name, "1.0")
    site.push(make_image("other"), name, "2.0")
    await site.carry_up()
    site.registry.delete_tag(RepositoryName(name), Tag("1.0"), upward=True)
    await site.carry_up()
    assert tags_at(parent, name).keys() == {"2.0"}
    assert digest_at(parent.url, name, image.digest) == image.digest
    assert len(site.outgoing) == 0


async def test_a_manifest_deleted_here_is_deleted_there_with_its_tags(
    site: Site, parent: Distribution, name: str
) -> None:
    """Deleting by digest takes every tag that named it."""
    image = site.push(make_image("app"), name, "1.0")
    site.push(image, name, "1")
    kept = site.push(make_image("kept"), name, "2.0")
    await site.carry_up()
    site.registry.delete_manifest(RepositoryName(name), Digest(image.digest), upward=True)
    await site.carry_up()
    assert tags_at(parent, name) == {"2.0": kept.digest}
    assert digest_at(parent.url, name, image.digest) is None
    assert len(site.outgoing) == 0


async def test_what_was_pushed_and_deleted_before_the_link_came_never_goes_up(
    site: Site, parent: Distribution, name: str
) -> None:
    """The push is overtaken by its own deletion; a later push of the tag still arrives."""
    gone = site.push(make_image("gone"), name, "1.0")
    site.registry.delete_manifest(RepositoryName(name), Digest(gone.digest), upward=True)
    image = site.push(make_image("kept"), name, "1.0")
    await site.carry_up()
    assert tags_at(parent, name) == {"1.0": image.digest}
    assert digest_at(parent.url, name, gone.digest) is None
    assert len(site.outgoing) == 0


async def test_referrers_arrive_in_any_order_and_are_listed(
    site: Site, parent: Distribution, name: str
) -> None:
    """A parent without a referrers API gets the fallback tag, with every referrer once."""
    image = make_image("signed")
    before = site.push(make_artifact(image, data=b"before"), name)
    site.push(image, name, "1.0")
    after = site.push(make_artifact(image, data=b"after"), name)
    await site.carry_up()
    fallback = image.digest.replace(":", "-")
    answer = httpx.get(
        f"{parent.url}/v2/{name}/manifests/{fallback}",
        headers={"Accept": "application/vnd.oci.image.index.v1+json"},
        trust_env=False,
    )
    listed = [each["digest"] for each in answer.json()["manifests"]]
    assert sorted(listed) == sorted([before.digest, after.digest])


async def test_what_waits_is_left_alone_by_a_sync(
    site: Site, parent: Distribution, name: str
) -> None:
    """A sync neither moves nor brings back what was changed here and has not gone up."""
    old = parent.push(make_image("old"), name, "moved", "untagged")
    site.scope = rules(name)
    await site.sync()
    mine = site.push(make_image("mine"), name, "moved")
    site.registry.delete_tag(RepositoryName(name), Tag("untagged"), upward=True)
    parent.push(make_image("theirs"), name, "moved")
    await site.sync(resync=True)
    assert site.tags(name) == {"moved": mine.digest}
    assert old.digest in site.manifests(name)


async def test_a_push_that_changes_nothing_is_not_queued(
    site: Site, parent: Distribution, name: str
) -> None:
    """Pushing again what came from the parent, or what waits already, adds nothing."""
    image = parent.push(make_image("app"), name, "1.0")
    site.scope = rules(name)
    await site.sync()
    site.push(image, name, "1.0")
    assert len(site.outgoing) == 0
    other = make_image("other")
    site.push(other, name, "2.0")
    site.push(other, name, "2.0")
    assert len(site.outgoing) == 1


class TestConflict:
    """A tag that both sides changed since the last sync."""

    @pytest.fixture
    async def both(self, site: Site, parent: Distribution, name: str) -> tuple[Image, Image]:
        """What is here and what is at the parent under ``app``."""
        parent.push(make_image("old"), name, "app")
        site.scope = rules(name)
        await site.sync()
        mine = site.push(make_image("mine"), name, "app")
        theirs = parent.push(make_image("theirs"), name, "app")
        return mine, theirs

    async def test_the_parent_wins_by_default(
        self, site: Site, parent: Distribution, name: str, both: tuple[Image, Image]
    ) -> None:
        """The site's image stays on both sides under a conflict tag; the tag follows the parent."""
        mine, theirs = both
        loser = conflict_tag(Tag("app"), "plant-1", Digest(mine.digest))
        await site.carry_up()
        await site.sync()
        wanted = {"app": theirs.digest, loser: mine.digest}
        assert tags_at(parent, name) == wanted
        assert site.tags(name) == wanted
        [told] = site.told("pushConflict")
        assert (told["here"], told["parent"]) == (mine.digest, theirs.digest)
        assert (told["kept"], told["conflictTag"]) == ("parent", loser)

    async def test_the_site_wins_where_that_is_set(
        self, site: Site, parent: Distribution, name: str, both: tuple[Image, Image]
    ) -> None:
        """The parent's image stays under a conflict tag."""
        mine, theirs = both
        site.policy = SyncPolicy(conflicts=Conflicts.SITE)
        await site.carry_up()
        await site.sync()
        loser = conflict_tag(Tag("app"), "plant-1", Digest(theirs.digest))
        wanted = {"app": mine.digest, loser: theirs.digest}
        assert tags_at(parent, name) == wanted
        assert site.tags(name) == wanted

    async def test_each_keeps_its_own_where_that_is_set(
        self, site: Site, parent: Distribution, name: str, both: tuple[Image, Image]
    ) -> None:
        """The tag differs from then on; the site's image is at the parent under another tag."""
        mine, theirs = both
        site.policy = SyncPolicy(conflicts=Conflicts.KEEP_BOTH)
        loser = conflict_tag(Tag("app"), "plant-1", Digest(mine.digest))
        await site.carry_up()
        await site.sync()
        assert tags_at(parent, name) == {"app": theirs.digest, loser: mine.digest}
        assert site.tags(name) == {"app": mine.digest, loser: mine.digest}
        newer = site.push(make_image("newer"), name, "app")
        await site.carry_up()
        assert digest_at(parent.url, name, "app") == theirs.digest
        assert site.tags(name)["app"] == newer.digest

    async def test_every_push_of_a_losing_series_is_kept(
        self, site: Site, parent: Distribution, name: str, both: tuple[Image, Image]
    ) -> None:
        """A later push that knew nothing of the parent's change does not overwrite it either."""
        mine, theirs = both
        second = site.push(make_image("second"), name, "app")
        await site.carry_up()
        tags = tags_at(parent, name)
        assert tags["app"] == theirs.digest
        assert set(tags.values()) == {theirs.digest, mine.digest, second.digest}

    async def test_an_untag_gives_way_to_a_new_digest(
        self, site: Site, parent: Distribution, name: str
    ) -> None:
        """What the parent put under the tag meanwhile comes here again."""
        parent.push(make_image("old"), name, "app")
        site.scope = rules(name)
        await site.sync()
        site.registry.delete_tag(RepositoryName(name), Tag("app"), upward=True)
        theirs = parent.push(make_image("theirs"), name, "app")
        await site.carry_up()
        await site.sync()
        assert tags_at(parent, name) == site.tags(name) == {"app": theirs.digest}


@pytest.mark.faults
async def test_500_pushes_made_offline_all_arrive_in_order(
    tmp_path: Path, parent: Distribution, name: str
) -> None:
    """Weeks without a link and a restart in between lose nothing."""
    folder = tmp_path / "site"
    wanted: dict[str, str] = {}
    shared = make_layer(2000)
    made: list[Image] = []
    dice = random.Random(5)
    away = Site(folder, "127.0.0.1:1", rules("team/*"), mode=Mode.READ_WRITE)
    away.clock.now = datetime.now(UTC) - timedelta(days=30)
    async with away:
        for number in range(500):
            image = make_image(number, size=100, shared=(shared,))
            tag = f"t{dice.randrange(50)}"
            away.push(image, name, tag)
            wanted[tag] = image.digest
            made.append(image)
            away.clock.now += timedelta(hours=1)
        with pytest.raises(ParentOffline):
            await away.carry_up()
    async with Site(folder, parent.address, rules("team/*"), mode=Mode.READ_WRITE) as site:
        assert await site.carry_up() == 500
        assert site.outgoing.figures(timedelta(days=2)).failed == 0
    assert tags_at(parent, name) == wanted
    log = parent.log
    for image in made:
        assert f"/v2/{name}/manifests/{image.digest}" in log


async def test_one_bad_push_does_not_hold_up_the_rest(
    site: Site, parent: Distribution, name: str
) -> None:
    """It is reported failed with its reason, its own tag waits behind it, all others arrive."""
    bad = site.push(make_image("bad"), name, "bad")
    site.blobs.path(Digest(bad.layers[0].digest)).unlink()
    site.push(make_image("good"), name, "bad")
    good = site.push(make_image("good"), name, "good")
    await site.carry_up()
    assert tags_at(parent, name) == {"good": good.digest}
    figures = site.outgoing.figures(timedelta(days=2))
    assert (figures.waiting, figures.failed) == (1, 1)
    entry = site.outgoing.first_failed(timedelta(days=2))
    assert entry is not None
    assert (entry.attempts, entry.reason) == (1, "missing")
    assert bad.layers[0].digest in (entry.detail or "")
    site.blobs.put(bad.layers[0].data)
    await site.carry_up()
    assert digest_at(parent.url, name, "bad") == good.digest


async def test_waiting_longer_than_message_ttl_is_reported_failed(
    site: Site, parent: Distribution, name: str
) -> None:
    """It is told, stays in the queue, and arrives all the same."""
    site.clock.now = datetime.now(UTC) - timedelta(days=3)
    image = site.push(make_image("late"), name, "1.0")
    site.clock.now = None
    figures = site.outgoing.figures(timedelta(days=2))
    assert (figures.waiting, figures.failed) == (0, 1)
    await site.carry_up()
    assert digest_at(parent.url, name, "1.0") == image.digest


async def test_a_read_only_parent_is_told_once_and_everything_stays(tmp_path: Path) -> None:
    """Its 405 stops the pass with a sentence that says what to do."""
    with ScriptedRegistry() as parent:
        refusal = Reply.error(405, "DENIED", "This operation is not allowed on this registry.")
        parent.on("/v2/team/app/blobs/uploads/", refusal, method="POST")
        site = Site(tmp_path, parent.address, rules("team/*"), mode=Mode.READ_WRITE)
        async with site:
            site.push(make_image("a"), "team/app", "a")
            site.push(make_image("b"), "team/app", "b")
            with pytest.raises(ParentReadOnly, match="make it ReadWrite"):
                await site.carry_up()
            figures = site.outgoing.figures(timedelta(days=2))
            assert (figures.waiting, figures.failed) == (2, 0)


async def test_pushes_count_against_the_byte_budget(
    tmp_path: Path, parent: Distribution, name: str
) -> None:
    """Once it is used up the rest waits for the next one."""
    policy = SyncPolicy(
        byte_budget=ByteBudget(bytes=1_500_000, per=timedelta(days=1)), concurrency=1
    )
    site = Site(tmp_path, parent.address, rules("team/*"), policy, mode=Mode.READ_WRITE)
    async with site:
        site.push(make_image("one", size=1_000_000), name, "one")
        site.push(make_image("two", size=1_000_000), name, "two")
        site.push(make_image("three", size=1_000_000), name, "three")
        with pytest.raises(SyncStopped):
            await site.carry_up()
        assert "three" not in tags_at(parent, name)
        site.policy = SyncPolicy()
        await site.carry_up()
    assert tags_at(parent, name).keys() == {"one", "two", "three"}


async def test_layers_in_two_repositories_cross_the_link_once(
    tmp_path: Path, parent: Distribution, name: str
) -> None:
    """The second repository mounts what the first has."""
    layer = make_layer(800_000)
    with CountingProxy("127.0.0.1", parent.port) as link:
        site = Site(tmp_path, link.address, rules("team/*"), mode=Mode.READ_WRITE)
        async with site:
            for part in range(4):
                site.push(make_image(part, shared=(layer,)), f"{name}/{part}", "1.0")
            await site.carry_up()
        assert link.bytes_up < 1_000_000
    assert all(tags_at(parent, f"{name}/{part}") for part in range(4))


async def test_the_job_carries_what_is_pushed_while_it_runs(
    site: Site, parent: Distribution, name: str
) -> None:
    """A push wakes it; nobody waits for a clock."""
    job = asyncio.create_task(site.uplink.run())
    try:
        await asyncio.sleep(0)
        image = await asyncio.to_thread(site.push, make_image("app"), name, "1.0")
        while len(site.outgoing):
            await asyncio.sleep(0.02)
    finally:
        job.cancel()
        await asyncio.wait({job})
    assert digest_at(parent.url, name, "1.0") == image.digest
