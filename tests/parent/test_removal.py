"""What is taken away, and what never is."""

from __future__ import annotations

from pathlib import Path

from connected_registry.parent.occasion import Trigger
from connected_registry.parent.result import SyncState
from connected_registry.policy.sync import SyncPolicy
from peers.images import make_artifact, make_image, make_signature
from peers.scripted import Reply, ScriptedRegistry
from peers.site import Site, rules


def reasons(site: Site) -> dict[str, str | None]:
    """Why each tag in the ledger is not simply synced."""
    return {state.tag: state.reason for state in site.ledger.images() if state.reason}


async def test_a_tag_deleted_at_the_parent_is_removed(tmp_path: Path) -> None:
    """The complete list does not name it and its own HEAD says 404: it goes, and is told."""
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(make_image(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.untag("team/app", "1.0")
            plan = await site.plan()
            assert [str(note) for note in plan.removals] == ["team/app:1.0"]
            assert "1.0" in site.tags("team/app")
            result = await site.sync()
            assert (result.state, result.removed) == (SyncState.SUCCEEDED, 1)
            assert site.tags("team/app").keys() == {"1.1", "1.2", "1.3"}
            assert ("imageRemoved", "1.0") in [(e, f.get("tag")) for e, f in site.events]
            assert {state.tag for state in site.ledger.images()} == {"1.1", "1.2", "1.3"}


async def test_a_tag_missing_from_the_list_stays_while_its_head_answers(tmp_path: Path) -> None:
    """A list alone is no evidence."""
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(make_image(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.on(
                "/v2/team/app/tags/list",
                Reply.json({"name": "team/app", "tags": ["1.1", "1.2", "1.3"]}),
            )
            result = await site.sync()
            assert (result.state, result.removed) == (SyncState.SUCCEEDED, 0)
            assert site.tags("team/app").keys() == {"1.0", "1.1", "1.2", "1.3"}


async def test_a_parent_error_on_the_head_is_no_evidence(tmp_path: Path) -> None:
    """Throttled, refused or broken answers leave the tag where it is."""
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(make_image(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.untag("team/app", "1.0")
            path = "/v2/team/app/manifests/1.0"
            for reply in (Reply.error(500, "UNKNOWN"), Reply.error(403, "DENIED")):
                parent.on(path, reply, method="HEAD")
                result = await site.sync()
                assert (result.state, result.removed) == (SyncState.FAILED, 0)
                assert "1.0" in site.tags("team/app")


async def test_the_guard_holds_many_removals_back(tmp_path: Path) -> None:
    """More than half of the tags at once is taken for a fault of the parent's."""
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(make_image(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.untag("team/app", "1.0", "1.1", "1.2")
            result = await site.sync()
            assert (result.state, result.removed, result.held_back) == ("Succeeded", 0, 3)
            assert len(site.tags("team/app")) == 4
            guarded = "held back by the deletion guard"
            assert reasons(site) == dict.fromkeys(("1.0", "1.1", "1.2"), guarded)
            site.policy = SyncPolicy(max_delete_percent=75)
            assert (await site.sync()).removed == 3
            assert site.tags("team/app").keys() == {"1.3"}


async def test_an_empty_list_removes_nothing(tmp_path: Path) -> None:
    """A parent that lost its tags does not take ours with it."""
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(make_image(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.untag("team/app", "1.0", "1.1", "1.2", "1.3")
            assert (await site.sync()).held_back == 4
            assert len(site.tags("team/app")) == 4


async def test_the_only_tag_of_a_repository_may_go(tmp_path: Path) -> None:
    """One tag is never too many at once."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.untag("team/app", "1.0")
            assert (await site.sync()).removed == 1
            assert site.tags("team/app") == {}


async def test_what_was_pushed_here_is_never_removed(tmp_path: Path) -> None:
    """A tag that the parent never had is no tag that vanished there."""
    with ScriptedRegistry() as parent:
        parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            site.push(make_artifact(), "team/app", "ours")
            assert (await site.sync()).removed == 0
            assert site.tags("team/app").keys() == {"1.0", "ours"}


async def test_a_changed_filter_removes_nothing(tmp_path: Path) -> None:
    """Tags that leave the scope are kept and marked, however often the sync runs."""
    with ScriptedRegistry() as parent:
        for tag in ("1.0", "1.1", "2.0"):
            parent.hold(make_image(tag), "team/app", tag)
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            site.scope = rules("team/app", tags=("2.*",))
            for _ in range(2):
                assert (await site.sync(Trigger.SCHEDULE)).removed == 0
            assert site.tags("team/app").keys() == {"1.0", "1.1", "2.0"}
            assert reasons(site) == {"1.0": "out of scope", "1.1": "out of scope"}
            assert site.synchronizer.completeness.in_sync == "true"
            site.scope = rules("other/app")
            plan = await site.plan()
            assert plan.out_of_scope == ("team/app",)


async def test_the_newest_stay_and_older_ones_go_after_the_newer_are_in(tmp_path: Path) -> None:
    """Under an unchanged rule a tag that falls out of the newest is removed in the same run."""
    with ScriptedRegistry() as parent:
        for n in range(3):
            parent.hold(make_image(n), "team/app", f"1.{n}.0")
        scope = rules("team/app", semver=">=1.0.0", newest=2)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            assert site.tags("team/app").keys() == {"1.1.0", "1.2.0"}
            parent.hold(make_image("new"), "team/app", "1.3.0")
            result = await site.sync()
            assert (result.state, result.removed) == (SyncState.SUCCEEDED, 1)
            assert site.tags("team/app").keys() == {"1.2.0", "1.3.0"}


async def test_older_ones_stay_while_a_newer_does_not_come_in(tmp_path: Path) -> None:
    """Nothing goes for the sake of an image that failed."""
    with ScriptedRegistry() as parent:
        for n in range(2):
            parent.hold(make_image(n), "team/app", f"1.{n}.0")
        scope = rules("team/app", semver=">=1.0.0", newest=2)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            new = parent.hold(make_image("new"), "team/app", "1.3.0")
            gone = Reply.error(404, "BLOB_UNKNOWN")
            parent.on(f"/v2/team/app/blobs/{new.layers[0].digest}", gone)
            assert (await site.sync()).removed == 0
            assert site.tags("team/app").keys() == {"1.0.0", "1.1.0"}


async def test_a_smaller_newest_is_a_changed_filter(tmp_path: Path) -> None:
    """Lowering the number keeps what is here; from then on the new rule governs new tags."""
    with ScriptedRegistry() as parent:
        for n in range(3):
            parent.hold(make_image(n), "team/app", f"1.{n}.0")
        scope = rules("team/app", semver=">=1.0.0", newest=3)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            site.scope = rules("team/app", semver=">=1.0.0", newest=1)
            await site.sync()
            parent.hold(make_image("new"), "team/app", "1.3.0")
            assert (await site.sync()).removed == 1
            assert site.tags("team/app").keys() == {"1.0.0", "1.1.0", "1.3.0"}


async def test_the_signature_goes_with_the_image_it_is_about(tmp_path: Path) -> None:
    """When an image falls out of the newest, its signature tag falls with it."""
    with ScriptedRegistry() as parent:
        images = [parent.hold(make_image(n), "team/app", f"1.{n}.0") for n in range(2)]
        for image in images:
            parent.hold(make_signature(image), "team/app")
        scope = rules("team/app", semver=">=1.0.0", newest=2)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            assert len(site.tags("team/app")) == 4
            parent.hold(make_image("new"), "team/app", "1.2.0")
            await site.sync()
            kept = make_signature(images[1]).extra_tags[0]
            assert site.tags("team/app").keys() == {"1.1.0", "1.2.0", kept}
