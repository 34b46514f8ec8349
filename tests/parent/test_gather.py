"""What belongs to an image: platforms, attestations, referrers and signature tags."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.occasion import Trigger
from connected_registry.parent.result import SyncState
from peers.images import (
    Content,
    Image,
    make_artifact,
    make_fallback,
    make_image,
    make_index,
    make_platforms,
    make_signature,
)
from peers.scripted import HONEST, Reply, ScriptedRegistry
from peers.site import Site, rules


def referrers(site: Site, repository: str, image: Image) -> set[str]:
    """Digests that a client is told refer to an image."""
    listed = site.registry.list_referrers(RepositoryName(repository), Digest(image.digest))
    return {each["digest"] for each in listed}


async def test_referrers_travel_with_their_subject(tmp_path: Path) -> None:
    """Those of the index, of a selected child, and referrers of referrers; not of others."""
    with ScriptedRegistry(referrers=True) as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        sbom = parent.hold(make_artifact(image), "team/app")
        signed = parent.hold(make_artifact(sbom, data=b"of the sbom"), "team/app")
        child = parent.hold(make_artifact(image.children[0], data=b"child"), "team/app")
        other = parent.hold(make_artifact(image.children[1], data=b"other"), "team/app")
        scope = rules("team/app", platforms=("linux/amd64",))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert referrers(site, "team/app", image) == {sbom.digest}
            assert referrers(site, "team/app", sbom) == {signed.digest}
            assert referrers(site, "team/app", image.children[0]) == {child.digest}
            assert other.digest not in site.manifests("team/app")
            assert site.blob("team/app", sbom.blobs[1].digest) == b"an artifact"


async def test_without_referrers_api_the_fallback_tag_is_followed(tmp_path: Path) -> None:
    """The index under ``sha256-<hex>`` and what it names come along, and so does the tag."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        sbom = make_artifact(image)
        fallback = parent.hold(make_fallback(image, sbom), "team/app")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert referrers(site, "team/app", image) == {sbom.digest}
            assert site.tags("team/app")[fallback.extra_tags[0]] == fallback.digest


@pytest.mark.parametrize("suffix", ["sig", "att", "sbom"])
async def test_signature_tags_come_with_images_that_filters_select(
    tmp_path: Path, suffix: str
) -> None:
    """Tags that no glob selects come along when they belong to an image; orphans do not."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        of_index = parent.hold(make_signature(image, suffix), "team/app")
        of_child = parent.hold(make_signature(image.children[1], suffix), "team/app")
        parent.hold(make_signature(make_image("elsewhere"), suffix), "team/app")
        scope = rules("team/app", tags=("1.*",))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).images_fetched == 1
            expected = {"1.0", of_index.extra_tags[0], of_child.extra_tags[0]}
            assert site.tags("team/app").keys() == expected


async def test_no_referrers_when_the_rule_does_not_want_them(tmp_path: Path) -> None:
    """``referrers: false`` brings neither referrers nor signature tags."""
    with ScriptedRegistry(referrers=True) as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        parent.hold(make_artifact(image), "team/app")
        parent.hold(make_signature(image), "team/app")
        scope = rules("team/app", referrers=False)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            assert site.tags("team/app").keys() == {"1.0"}
            assert site.manifests("team/app") == {image.digest}


async def test_an_image_is_not_shown_before_its_signature(tmp_path: Path) -> None:
    """A signature that cannot be had holds the image back: no evidence is not good evidence."""
    with ScriptedRegistry(referrers=True) as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        sbom = parent.hold(make_artifact(image), "team/app")
        for path in (
            f"/v2/team/app/referrers/{image.digest}",
            f"/v2/team/app/manifests/{sbom.digest}",
            f"/v2/team/app/blobs/{sbom.blobs[1].digest}",
        ):
            parent.on(path, Reply.error(500, "UNKNOWN"))
            async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
                assert (await site.sync()).state is SyncState.FAILED
                assert site.tags("team/app") == {}
            parent.on(path, HONEST)


@pytest.mark.parametrize("acr", [False, True])
async def test_a_new_signature_tag_of_a_known_image_comes_at_the_next_sync(
    tmp_path: Path, acr: bool
) -> None:
    """The tag list alone shows it, so no time has to pass."""
    with ScriptedRegistry(acr=acr) as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            signature = parent.hold(make_signature(image), "team/app")
            plan = await site.plan()
            assert [each.action for each in plan.images] == ["extended"]
            await site.sync(Trigger.SCHEDULE)
            assert site.tags("team/app")[signature.extra_tags[0]] == signature.digest


async def test_new_referrers_of_a_known_image_are_asked_for_once_an_hour(tmp_path: Path) -> None:
    """Within the hour nothing is asked, also after a restart; a resync asks at once."""
    with ScriptedRegistry(referrers=True) as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        path = f"/v2/team/app/referrers/{image.digest}"
        site = Site(tmp_path / "site", parent.address, rules("team/app"))
        async with site:
            await site.sync()
        async with site:
            sbom = parent.hold(make_artifact(image), "team/app")
            await site.sync(Trigger.SCHEDULE)
            assert len(parent.asked(path)) == 1
            await site.sync(Trigger.MANUAL, resync=True)
            assert referrers(site, "team/app", image) == {sbom.digest}
            later = parent.hold(make_artifact(image, data=b"later"), "team/app")
            site.clock.now = site.clock() + timedelta(minutes=61)
            await site.sync(Trigger.SCHEDULE)
            assert referrers(site, "team/app", image) == {sbom.digest, later.digest}


async def test_attestations_travel_with_the_platform_they_attest(tmp_path: Path) -> None:
    """BuildKit's ``unknown/unknown`` entries come with their image and only with it."""
    with ScriptedRegistry() as parent:
        amd, arm = (make_image("app", platform=f"linux/{each}") for each in ("amd64", "arm64"))
        notes = [make_artifact(data=name) for name in (b"of amd64", b"of arm64")]
        index = make_index(amd, arm)
        document = index.manifest.data.decode().rstrip().removesuffix("]\n}")
        for subject, note in zip((amd, arm), notes, strict=True):
            document += (
                f',{{"mediaType": "{note.manifest.media_type}", "digest": "{note.digest}", '
                f'"size": {note.manifest.size}, "platform": {{"os": "unknown", "architecture": '
                '"unknown"}, "annotations": {"vnd.docker.reference.type": '
                f'"attestation-manifest", "vnd.docker.reference.digest": "{subject.digest}"}}}}'
            )
        content = Content(index.manifest.media_type, f"{document}]\n}}".encode())
        image = parent.hold(Image(content, children=(amd, arm, *notes)), "team/app", "1.0")
        scope = rules("team/app", platforms=("linux/arm64",))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            expected = {image.digest, arm.digest, notes[1].digest}
            assert site.manifests("team/app") == expected


async def test_an_index_without_a_wanted_platform_is_left_out(tmp_path: Path) -> None:
    """It is no failure, and the ledger says which platforms were wanted."""
    with ScriptedRegistry() as parent:
        parent.hold(make_platforms("app", ("linux/amd64",)), "team/app", "1.0")
        scope = rules("team/app", platforms=("linux/riscv64",))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.tags("team/app") == {}
            (state,) = site.ledger.images()
            assert state.reason == "no platform of it is wanted"
            assert "linux/riscv64" in str(state.detail)


async def test_platforms_added_later_come_at_the_next_sync(tmp_path: Path) -> None:
    """A wider rule completes images that are here, fetching only what is new."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        scope = rules("team/app", platforms=("linux/amd64",))
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            site.scope = rules("team/app", platforms=("linux/amd64", "linux/arm64"))
            result = await site.sync(Trigger.SCHEDULE)
            assert (result.images_fetched, result.blobs_fetched) == (1, 2)
            assert image.children[1].digest in site.manifests("team/app")
            assert (await site.sync(Trigger.SCHEDULE)).images_current == 1


async def test_a_parent_that_is_sparse_itself_is_followed(tmp_path: Path) -> None:
    """Without platforms in the rule we hold what the parent holds; named ones must be there."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_platforms("app"), "team/app", "1.0")
        del parent._repositories["team/app"].manifests[image.children[2].digest]
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert len(site.manifests("team/app")) == 3
            site.scope = rules("team/app", platforms=("linux/arm/v7",))
            result = await site.sync()
            assert [each.reason for each in result.failures] == ["moved at the parent"]
            assert site.tags("team/app") == {"1.0": image.digest}


async def test_indexes_in_indexes_come_whole(tmp_path: Path) -> None:
    """Nested indexes are followed, each manifest once."""
    with ScriptedRegistry() as parent:
        inner = make_platforms("app")
        image = parent.hold(make_index(inner, make_image("beside")), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.manifests("team/app") == {each.digest for each in image.everything()}
            assert site.is_whole("team/app", "1.0")
