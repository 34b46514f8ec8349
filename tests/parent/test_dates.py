"""The newest images of parents that do not say when tags were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connected_registry.parent.occasion import Trigger
from connected_registry.parent.result import SyncState
from peers.images import OCI_CONFIG, OCI_MANIFEST, Content, Image, make_image, make_index
from peers.scripted import HONEST, Reply, ScriptedRegistry
from peers.site import Site, rules

CREATED = "org.opencontainers.image.created"


def dated(name: str, created: object) -> Image:
    """An image that says in its config when it was made."""
    image = make_image(name)
    config = json.loads(image.blobs[0].data) | {"created": created}
    blob = Content(OCI_CONFIG, json.dumps(config).encode())
    document = json.loads(image.manifest.data) | {"config": blob.descriptor()}
    manifest = Content(OCI_MANIFEST, json.dumps(document).encode())
    return Image(manifest, (blob, *image.layers), platform=image.platform)


def annotated(name: str, created: str) -> Image:
    """An image that says it in an annotation."""
    return make_image(name, annotations={CREATED: created})


def in_index(name: str, created: str) -> Image:
    """An index whose first image says it in its config."""
    return make_index(dated(name, created), dated(f"{name} too", "2001-01-01T00:00:00Z"))


@pytest.mark.parametrize("make", [dated, annotated, in_index])
async def test_the_newest_by_date_of_making(tmp_path: Path, make: object) -> None:
    """The tag names say another order than the dates; the dates count."""
    assert callable(make)
    with ScriptedRegistry() as parent:
        parent.hold(make("a", "2026-03-01T00:00:00.123456789Z"), "team/app", "zeta")
        parent.hold(make("b", "2026-05-01T00:00:00+02:00"), "team/app", "alpha")
        parent.hold(make("c", "2026-04-01T00:00:00Z"), "team/app", "beta")
        scope = rules("team/app", newest=2)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.tags("team/app").keys() == {"alpha", "beta"}


async def test_dates_are_asked_for_once(tmp_path: Path) -> None:
    """Neither manifests nor configs are fetched again for their dates, also after a restart."""
    with ScriptedRegistry() as parent:
        for n in range(4):
            parent.hold(dated(str(n), f"2026-01-0{n + 1}T00:00:00Z"), "team/app", f"v{n}")
        site = Site(tmp_path / "site", parent.address, rules("team/app", newest=2))
        async with site:
            await site.sync()
        asked = len(parent.requests)
        async with site:
            assert (await site.sync(Trigger.SCHEDULE)).images_current == 2
            assert {each.method for each in parent.requests[asked + 2 :]} == {"HEAD"}


async def test_dates_in_the_listing_spare_all_that(tmp_path: Path) -> None:
    """Azure's listing tells the times itself."""
    with ScriptedRegistry(acr=True) as parent:
        for n in range(4):
            parent.hold(make_image(n), "team/app", f"v{n}")
        scope = rules("team/app", newest=2)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            plan = await site.plan()
            assert {image.tag for image in plan.images} == {"v2", "v3"}
            manifests = [each for each in parent.requests if "/manifests/" in each.path]
            assert len(manifests) == 2


async def test_an_unknown_date_is_no_reason_to_take_good_images_away(tmp_path: Path) -> None:
    """While one date cannot be told, the repository waits and nothing is removed."""
    with ScriptedRegistry() as parent:
        for n in range(2):
            parent.hold(dated(str(n), f"2026-01-0{n + 1}T00:00:00Z"), "team/app", f"v{n}")
        scope = rules("team/app", newest=2)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            await site.sync()
            new = parent.hold(dated("new", "2026-02-01T00:00:00Z"), "team/app", "v2")
            path = f"/v2/team/app/blobs/{new.blobs[0].digest}"
            parent.on(path, Reply.error(500, "UNKNOWN"))
            result = await site.sync()
            assert (result.state, result.removed) == (SyncState.FAILED, 0)
            assert site.tags("team/app").keys() == {"v0", "v1"}
            parent.on(path, HONEST)
            assert (await site.sync()).removed == 1
            assert site.tags("team/app").keys() == {"v1", "v2"}


@pytest.mark.parametrize("created", [None, 7, "yesterday", "99999-01-01T00:00:00Z"])
async def test_images_without_a_date_come_last(tmp_path: Path, created: object) -> None:
    """A config that says nothing sensible does not stop the choice."""
    with ScriptedRegistry() as parent:
        parent.hold(dated("odd", created), "team/app", "odd")
        parent.hold(dated("good", "1999-01-01T00:00:00Z"), "team/app", "good")
        scope = rules("team/app", newest=1)
        async with Site(tmp_path / "site", parent.address, scope) as site:
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.tags("team/app").keys() == {"good"}
