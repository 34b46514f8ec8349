"""Bundles brought in: the rules of a sync, and nothing half done."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.carrying import bring, export, held, push, reasons, synced, take
from bundle.conftest import NOWHERE
from connected_registry.errors import BundleInvalid, Conflict
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import RepositoryRule, Scope
from peers.images import Image, make_artifact, make_image, make_platforms, make_signature
from peers.site import Site, rules

APP = make_platforms("app", size=20_000)


def stock(site: Site) -> None:
    """Two repositories that share a layer, a multi-platform image, an SBOM and a signature."""
    push(site, APP, "team/app", "1.0")
    push(site, make_artifact(APP), "team/app")
    push(site, make_signature(APP), "team/app")
    push(site, make_image("tool", size=90_000), "team/tool", "v1", "latest")
    push(site, make_image("tool", size=90_000), "team/copy", "v1")


async def test_everything_arrives(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """Tags, platforms, SBOM and signature are at the site as they were in the cloud."""
    stock(cloud)
    written = export(cloud, tmp_path / "all.tar")

    receipt = bring(plant, tmp_path / "all.tar")

    names = ("team/app", "team/tool", "team/copy")
    assert held(plant, *names) == held(cloud, *names)
    assert set(receipt.imported) == set(written.images)
    assert receipt.refused == ()
    assert plant.is_whole("team/app", "1.0")


async def test_what_is_here_is_not_read_again(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """A second import of the same bundle finds all of it here."""
    stock(cloud)
    export(cloud, tmp_path / "all.tar")
    first = bring(plant, tmp_path / "all.tar")

    second = bring(plant, tmp_path / "all.tar")

    assert (second.imported, second.bytes_imported) == ((), 0)
    assert set(second.current) == set(first.imported)


async def test_stopped_import_goes_on(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """The bytes that came before the stop are not read twice, and the image comes in whole."""
    image = make_image("big", size=5_000_000)
    push(cloud, image, "team/big", "v1")
    export(cloud, tmp_path / "big.tar")
    looks = itertools.count()

    with pytest.raises(Conflict, match="go on"):
        bring(plant, tmp_path / "big.tar", stop=lambda: next(looks) > 3)
    before = plant.tags("team/big")
    receipt = bring(plant, tmp_path / "big.tar")

    assert before == {}
    assert plant.is_whole("team/big", "v1")
    assert 0 < receipt.bytes_imported < sum(blob.size for blob in image.blobs)


@pytest.mark.parametrize("victim", ["layer", "config", "manifest"])
async def test_damaged_bytes(cloud: Site, plant: Site, tmp_path: Path, victim: str) -> None:
    """The image with damaged bytes stays out and the file is named; the others come in."""
    good, bad = make_image("good"), make_image("bad", size=50_000)
    push(cloud, good, "team/good", "v1")
    push(cloud, bad, "team/bad", "v1")
    file = tmp_path / "two.tar"
    export(cloud, file)
    parts = {"layer": bad.blobs[1], "config": bad.blobs[0], "manifest": bad.manifest}
    damage(file, parts[victim].data)

    receipt = bring(plant, file)

    assert receipt.imported == ("team/good:v1",)
    assert reasons(receipt) == {"team/bad:v1": "damaged"}
    assert str(file) in receipt.refused[0].detail
    assert "copy it again" in receipt.refused[0].detail
    assert plant.tags("team/bad") == {}


def damage(file: Path, content: bytes) -> None:
    """Flip a byte in the middle of ``content`` where it lies in the file."""
    data = bytearray(file.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    file.write_bytes(data)


async def test_repaired_bundle_completes(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """After the damaged file was copied again, the same command brings in the rest."""
    bad = make_image("bad", size=50_000)
    push(cloud, bad, "team/bad", "v1")
    file = tmp_path / "bad.tar"
    export(cloud, file)
    whole = file.read_bytes()
    damage(file, bad.blobs[1].data)
    bring(plant, file)
    file.write_bytes(whole)

    receipt = bring(plant, file)

    assert receipt.imported == ("team/bad:v1",)
    assert plant.is_whole("team/bad", "v1")


async def test_scope_decides(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """What no rule selects stays out, with the reason; --all takes it."""
    stock(cloud)
    export(cloud, tmp_path / "all.tar")
    plant.scope = Scope(repositories=(RepositoryRule(name="team/tool", exclude_tags=("v*",)),))

    receipt = bring(plant, tmp_path / "all.tar")

    assert receipt.imported == ("team/tool:latest",)
    assert set(reasons(receipt).values()) == {"out of scope"}
    assert plant.tags("team/app") == {}
    everything = bring(plant, tmp_path / "all.tar", everything=True)
    assert set(everything.imported) == {"team/app:1.0", "team/copy:v1", "team/tool:v1"}


async def test_platforms_of_the_rule(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """Only the platforms that the site wants are stored."""
    push(cloud, APP, "team/app", "1.0")
    export(cloud, tmp_path / "all.tar")
    plant.scope = rules("team/app", platforms=("linux/arm64",))

    bring(plant, tmp_path / "all.tar")

    wanted = {child.digest for child in APP.children if child.platform == "linux/arm64"}
    assert plant.manifests("team/app") == {APP.digest, *wanted}


async def test_platform_that_is_not_in_the_bundle(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """A bundle made for another platform does not leave a hollow image."""
    push(cloud, APP, "team/app", "1.0")
    cloud.scope = rules("team/*", platforms=("linux/amd64",))
    export(cloud, tmp_path / "amd64.tar")
    plant.scope = rules("team/*", platforms=("linux/arm64",))

    receipt = bring(plant, tmp_path / "amd64.tar")

    assert reasons(receipt) == {"team/app:1.0": "incomplete"}
    assert plant.tags("team/app") == {}


async def test_newest_of_the_rule(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """A rule that wants so many versions takes the latest of those in the bundle."""
    for version in ("1.9.0", "1.10.0", "1.8.0"):
        push(cloud, make_image(version), "team/app", version)
    export(cloud, tmp_path / "all.tar")
    plant.scope = rules("team/app", newest=2, semver="1.x")

    receipt = bring(plant, tmp_path / "all.tar")

    assert set(receipt.imported) == {"team/app:1.9.0", "team/app:1.10.0"}


async def test_nothing_is_removed(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """Tags that the bundle does not have stay, whoever brought them."""
    push(plant, make_image("old"), "team/app", "old")
    push(cloud, APP, "team/app", "1.0")
    export(cloud, tmp_path / "all.tar")

    bring(plant, tmp_path / "all.tar")

    assert set(plant.tags("team/app")) == {"old", "1.0"}


async def test_local_pushes_win_in_read_write(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """In ReadWrite mode a tag that was pushed here is not moved; in ReadOnly it is."""
    push(plant, make_image("ours"), "team/app", "1.0")
    push(cloud, APP, "team/app", "1.0")
    export(cloud, tmp_path / "all.tar")
    plant.mode = Mode.READ_WRITE

    kept = bring(plant, tmp_path / "all.tar")
    plant.mode = Mode.READ_ONLY
    moved = bring(plant, tmp_path / "all.tar")

    assert reasons(kept) == {"team/app:1.0": "pushed here"}
    assert moved.imported == ("team/app:1.0",)


async def test_older_bundle_does_not_turn_back(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """What the parent confirmed later stays; a newer bundle moves the tag, and says when."""
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    old, new = make_image("old"), make_image("new")
    synced(cloud, old, "team/app", "stable", noon)
    export(cloud, tmp_path / "old.tar")
    synced(plant, new, "team/app", "stable", noon + timedelta(hours=1))

    kept = bring(plant, tmp_path / "old.tar")
    before = plant.tags("team/app")
    synced(cloud, old, "team/app", "stable", noon + timedelta(hours=2))
    export(cloud, tmp_path / "newer.tar")
    moved = bring(plant, tmp_path / "newer.tar")

    assert reasons(kept) == {"team/app:stable": "older"}
    assert before == {"stable": new.digest}
    assert moved.imported == ("team/app:stable",)
    (tag,) = plant.registry.tag_details(RepositoryName("team/app")).items
    assert (tag.origin, tag.confirmed_at) == ("parent", noon + timedelta(hours=2))


async def test_blob_that_a_sync_fetches_at_the_same_time(
    cloud: Site, plant: Site, tmp_path: Path
) -> None:
    """The import waits for its turn, and takes over what the sync left."""
    image = make_image("app", size=50_000)
    push(cloud, image, "team/app", "1.0")
    export(cloud, tmp_path / "b.tar")
    layer = image.blobs[1]

    with ThreadPoolExecutor() as threads:
        with plant.blobs.partial(Digest(layer.digest), layer.size) as fetching:
            fetching.write(layer.data[:1000])
            work = threads.submit(bring, plant, tmp_path / "b.tar")
            with pytest.raises(TimeoutError):
                work.result(0.5)
        receipt = work.result()

    assert receipt.imported == ("team/app:1.0",)
    assert plant.blob("team/app", layer.digest) == layer.data


async def test_image_without_room(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """What does not fit is told and not begun; what fits comes in."""
    push(cloud, make_image("small", size=1000), "team/small", "v1")
    push(cloud, make_image("large", size=90_000), "team/large", "v1")
    export(cloud, tmp_path / "b.tar")

    receipt = bring(
        plant, tmp_path / "b.tar", admit=lambda _, size: "no room" if size > 50_000 else None
    )

    assert receipt.imported == ("team/small:v1",)
    assert reasons(receipt) == {"team/large:v1": "disk"}
    assert list(plant.path.glob("replica/partials/*")) == []


async def test_incremental_bundle(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """By the site's inventory the second bundle carries only what is new, and fits."""
    base = make_image("base", size=300_000)
    push(cloud, base, "team/app", "1.0")
    export(cloud, tmp_path / "first.tar")
    bring(plant, tmp_path / "first.tar")
    push(cloud, make_image("next", size=1000, shared=layers(base)), "team/app", "1.1")

    second = export(cloud, tmp_path / "second.tar", lacking=take(plant))
    receipt = bring(plant, tmp_path / "second.tar")

    assert second.images == ("team/app:1.1",)
    assert (tmp_path / "second.tar").stat().st_size < 30_000
    assert receipt.imported == ("team/app:1.1",)
    assert plant.is_whole("team/app", "1.1")


def layers(image: Image) -> tuple[tuple[object, str], ...]:
    """The image's layers with their diff ids, to be shared."""
    ids = json.loads(image.blobs[0].data)["rootfs"]["diff_ids"]
    return tuple(zip(image.layers, ids, strict=True))


async def test_incremental_bundle_for_another_site(
    cloud: Site, plant: Site, tmp_path: Path
) -> None:
    """Brought to a site that lacks what was left out, it says so and shows nothing."""
    base = make_image("base", size=300_000)
    push(plant, base, "team/app", "1.0")
    lacking = take(plant)
    push(cloud, make_image("next", size=1000, shared=layers(base)), "team/app", "1.1")
    export(cloud, tmp_path / "second.tar", lacking=lacking)
    plant.registry.delete_tag(RepositoryName("team/app"), Tag("1.0"))
    for blob in base.blobs:
        plant.blobs.remove(Digest(blob.digest))

    receipt = bring(plant, tmp_path / "second.tar")

    assert reasons(receipt) == {"team/app:1.1": "missing"}
    assert "1.1" not in plant.tags("team/app")


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_any_damage_is_found(cloud: Site, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever byte of a bundle is changed, the site shows whole and true images only."""
    push(cloud, APP, "team/app", "1.0")
    file = tmp_path / "one.tar"
    export(cloud, file)
    content = bytearray(file.read_bytes())
    at = data.draw(st.one_of(st.integers(0, 4000), st.integers(0, len(content) - 1)))
    content[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)

    async with Site(tmp_path / str(uuid4()), NOWHERE, cloud.scope) as plant:
        with suppress(BundleInvalid):
            bring(plant, file)

        assert plant.tags("team/app") in ({}, {"1.0": APP.digest})
        if plant.tags("team/app"):
            assert plant.is_whole("team/app", "1.0")
            for blob in APP.all_blobs().values():
                assert plant.blob("team/app", blob.digest) == blob.data
