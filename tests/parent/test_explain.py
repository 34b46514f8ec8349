"""The one reason for each image, and whether it can be pulled with the parent away."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connected_registry.oci.platform import Platform
from connected_registry.oci.reference import ImageName
from connected_registry.parent.explain import Check, Circumstances, Explainer, Explanation
from connected_registry.policy.scope import RepositoryRule, Scope
from connected_registry.policy.sync import ByteBudget, SyncPolicy
from peers.images import make_image, make_index, make_platforms, make_signature
from peers.proxy import CountingProxy
from peers.scripted import Reply, ScriptedRegistry
from peers.site import Site, rules


def explainer(site: Site, **circumstances: Any) -> Explainer:
    """What answers for a site."""
    return Explainer(
        site.scope,
        site.registry,
        site.ledger,
        site.synchronizer.memory,
        Circumstances(**circumstances),
    )


def explain(site: Site, image: str, **circumstances: Any) -> Explanation:
    """Ask why."""
    return explainer(site, **circumstances).explain(ImageName.parse(image))


def check(site: Site, image: str, platform: str | None = None) -> Check:
    """Ask whether it is whole."""
    wanted = Platform.parse(platform) if platform else None
    return explainer(site).check(ImageName.parse(image), wanted)


async def test_an_image_that_is_here(tmp_path: Path) -> None:
    """Present and current, with the time of the parent's word."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            for name in ("team/app:1.0", f"team/app@{image.children[0].digest}"):
                found = explain(site, name)
                assert (found.reason, found.current) == ("present", True)
            assert explain(site, "team/app:1.0").to_json()["current"] is True


async def test_what_filters_and_rules_leave_out(tmp_path: Path) -> None:
    """Out of scope, a filtered tag, beyond the newest, a foreign platform, someone's signature."""
    with ScriptedRegistry() as parent:
        for n in range(3):
            parent.hold(make_image(n), "team/app", f"1.{n}.0")
        orphan = parent.hold(make_signature(make_image("other")), "team/web")
        web = parent.hold(make_platforms("web"), "team/web", "1.0")
        parent.hold(make_platforms("arm", ("linux/arm/v7",)), "team/web", "arm")
        scope = Scope(
            repositories=(
                RepositoryRule(name="team/app", semver=">=1", newest=2, exclude_tags=("dev",)),
                RepositoryRule(name="team/web", platforms=("linux/amd64",)),
            )
        )
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            assert explain(site, "other/db:1.0").reason == "out of scope"
            assert explain(site, "team/app:dev").reason == "filtered tag"
            assert "semver" in explain(site, "team/app:nightly").detail
            beyond = explain(site, "team/app:1.0.0")
            assert (beyond.reason, "2 newest" in beyond.detail) == ("filtered tag", True)
            assert explain(site, "team/web:arm").reason == "platform"
            assert explain(site, f"team/web@{web.children[1].digest}").reason == "platform"
            assert explain(site, f"team/web:{orphan.extra_tags[0]}").reason == "filtered tag"
            assert explain(site, "team/web:9.9").reason == "not at parent"
            assert explain(site, f"team/web@sha256:{'0' * 64}").reason == "not at parent"


async def test_never_synced_and_why(tmp_path: Path) -> None:
    """Before the first sync: paused, window, or simply never."""
    with ScriptedRegistry() as parent:
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            assert explain(site, "team/app:1.0").reason == "never synced"
            assert explain(site, "team/app:1.0", paused=True).reason == "paused"
            opens = datetime(2030, 1, 1, 2, tzinfo=UTC)
            found = explain(site, "team/app:1.0", window_opens=opens)
            assert (found.reason, "2030-01-01T02:00:00Z" in found.detail) == ("window", True)


async def test_an_image_that_waits(tmp_path: Path) -> None:
    """Planned and not here yet: by what holds syncing back."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app", size=300_000), "team/app", "1.0")
        budget = SyncPolicy(byte_budget=ByteBudget(bytes=100_000))
        async with Site(tmp_path / "site", parent.address, rules("team/app"), budget) as site:
            await site.sync()
            assert explain(site, "team/app:1.0").reason == "pending"
            assert explain(site, "team/app:1.0", stopped="budget").reason == "budget"
            assert explain(site, "team/app:1.0", paused=True).reason == "paused"
            assert explain(site, "team/app:1.0", syncing=True, paused=True).reason == "pending"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply.error(404, "BLOB_UNKNOWN"), "failed"),
        (Reply.error(401, "UNAUTHORIZED"), "credential"),
        (Reply.error(403, "DENIED"), "credential"),
    ],
)
async def test_an_image_that_failed(tmp_path: Path, reply: Reply, reason: str) -> None:
    """The ledger's reason, with what the parent answered."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        parent.on(f"/v2/team/app/blobs/{image.layers[0].digest}", reply)
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            found = explain(site, "team/app:1.0")
            assert (found.reason, found.current) == (reason, False)
            assert str(reply.status) in found.detail


async def test_an_old_image_that_is_still_served(tmp_path: Path) -> None:
    """Why the newer one is not here, and which one is until then."""
    with ScriptedRegistry() as parent:
        old = parent.hold(make_image("old"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            new = parent.hold(make_image("new"), "team/app", "1.0")
            gone = Reply.error(404, "BLOB_UNKNOWN")
            parent.on(f"/v2/team/app/blobs/{new.layers[0].digest}", gone)
            await site.sync()
            found = explain(site, "team/app:1.0")
            assert (found.reason, found.current, found.digest) == ("failed", False, old.digest)
            assert old.digest in found.detail


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply.error(403, "DENIED"), "credential"),
        (Reply.error(404, "NAME_UNKNOWN"), "not at parent"),
        (Reply.error(500, "UNKNOWN"), "failed"),
    ],
)
async def test_a_repository_that_was_not_listed(tmp_path: Path, reply: Reply, reason: str) -> None:
    """What is known of the repository explains the tag."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("web"), "team/web", "1.0")
        parent.on("/v2/team/app/tags/list", reply)
        scope = rules("team/app", "team/web")
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            assert explain(site, "team/app:1.0").reason == reason


async def test_a_parent_that_is_away(tmp_path: Path) -> None:
    """Nothing was ever heard, and the parent cannot be reached."""
    with ScriptedRegistry() as parent, CountingProxy("127.0.0.1", parent.port) as link:
        link.refuse()
        async with Site(tmp_path / "site", link.address, rules("team/app")) as site:
            await site.sync()
            assert explain(site, "team/app:1.0").reason == "offline"


async def test_kept_tags_say_why_they_are_not_current(tmp_path: Path) -> None:
    """Out of scope by a changed filter or rule, or kept by the deletion guard."""
    with ScriptedRegistry() as parent:
        for tag in ("1.0", "1.1", "2.0"):
            parent.hold(make_image(tag), "team/app", tag)
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            site.scope = rules("team/app", tags=("2.*",))
            await site.sync()
            found = explain(site, "team/app:1.0")
            assert (found.reason, found.current) == ("filtered tag", False)
            site.scope = rules("other/app")
            assert explain(site, "team/app:2.0").reason == "out of scope"
            site.scope = rules("team/app")
            await site.sync()
            parent.untag("team/app", "1.0", "1.1", "2.0")
            await site.sync()
            assert explain(site, "team/app:1.0").reason == "deletion guard"


async def test_a_whole_image_is_complete(tmp_path: Path) -> None:
    """For every platform that was synced; a platform that was not says so."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        scope = rules("team/app", platforms=("linux/amd64", "linux/arm64"))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            assert check(site, "team/app:1.0").complete
            assert check(site, f"team/app:1.0@{image.digest}").complete
            assert check(site, "team/app:1.0", "linux/arm64").complete
            arm = check(site, "team/app:1.0", "linux/arm/v7")
            assert not arm.complete
            assert arm.missing == 1
            never = check(site, "team/app:1.0", "linux/s390x")
            assert (never.complete, never.reason) == (
                False,
                "platform: the image has no linux/s390x",
            )


async def test_an_image_that_is_not_here_is_not_complete(tmp_path: Path) -> None:
    """With the reason that `explain` gives."""
    with ScriptedRegistry() as parent:
        parent.hold(make_index(make_image("app")), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            found = check(site, "other/db:1.0")
            assert (found.complete, str(found.reason).partition(":")[0]) == (False, "out of scope")
            other = check(site, f"team/app:1.0@sha256:{'0' * 64}")
            assert not other.complete


async def test_an_image_that_lost_a_blob_is_not_complete(tmp_path: Path) -> None:
    """What the disk no longer holds is counted."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        layer = image.layers[0]
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            (site.path / "blobs/sha256" / layer.digest.removeprefix("sha256:")).unlink()
            found = check(site, "team/app:1.0")
            assert (found.complete, found.missing, found.missing_bytes) == (False, 1, layer.size)
            assert explain(site, "team/app:1.0").reason == "failed"
