"""Syncs from Debian's ``docker-registry``, over a link that counts and breaks."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from connected_registry.parent.occasion import Trigger
from connected_registry.parent.result import SyncState
from connected_registry.policy.scope import RepositoryRule, Scope
from peers.distribution import Distribution
from peers.images import make_image, make_layer, make_platforms, make_signature
from peers.proxy import CountingProxy
from peers.site import Site, rules

pytestmark = pytest.mark.system

REQUEST = re.compile(r'"(GET|HEAD) (/v2/\S*) HTTP/1\.1"')
MIB = 1024 * 1024


def requests(parent: Distribution) -> list[tuple[str, str]]:
    """Every method and path in the parent's access log."""
    return REQUEST.findall(parent.log)


def bodies(found: list[tuple[str, str]], kind: str) -> list[str]:
    """The paths of manifests or blobs asked for with GET."""
    return [path for method, path in found if method == "GET" and f"/{kind}/" in path]


async def test_scope_plan_and_a_second_sync(tmp_path: Path) -> None:
    """Exactly the asked set arrives, as planned; nothing is fetched when nothing changed."""
    with Distribution(tmp_path / "parent") as parent:
        images = {}
        base = make_layer(50_000, seed="base")
        for repository in ("team/app", "team/web", "other/db"):
            for tag in ("1.0", "1.1", "2.0", "dev"):
                made = make_platforms(f"{repository} {tag}", size=5_000)
                images[repository, tag] = parent.push(made, repository, tag)
            parent.push(make_image(repository, shared=(base,)), repository, "base")
        signed = images["team/app", "1.1"]
        signature = parent.push(make_signature(signed), "team/app")
        scope = Scope(
            repositories=(
                RepositoryRule(name="team/app", tags=("1.*", "base"), platforms=("linux/arm64",)),
                RepositoryRule(name="team/web", tags=("base",)),
            )
        )
        async with Site(tmp_path / "site", parent.address, scope) as site:
            plan = await site.plan()
            before = len(requests(parent))
            result = await site.sync()
            assert result.state is SyncState.SUCCEEDED
            later = requests(parent)[before:]
            assert len(plan.images) == result.images_fetched == 4
            assert len(plan.to_fetch) == result.blobs_fetched == len(bodies(later, "blobs"))
            assert plan.bytes_to_fetch == result.bytes_fetched
            assert bodies(later, "manifests") == []
            tags = {"1.0", "1.1", "base", signature.extra_tags[0]}
            assert site.tags("team/app").keys() == tags
            assert site.tags("team/app")["1.1"] == signed.digest
            assert site.tags("team/web").keys() == {"base"}
            for other in (signed.children[0], signed.children[2]):
                assert other.digest not in site.manifests("team/app")
            before = len(requests(parent))
            assert (await site.sync(Trigger.SCHEDULE)).images_current == 4
            later = requests(parent)[before:]
            assert bodies(later, "blobs") == bodies(later, "manifests") == []


async def test_a_restart_of_the_parent_is_survived(tmp_path: Path) -> None:
    """The parent goes away between two syncs and comes back with more."""
    with Distribution(tmp_path / "parent") as parent:
        parent.push(make_image("app"), "team/app", "1.0")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.stop()
            assert (await site.sync()).offline
            assert site.tags("team/app").keys() == {"1.0"}
            parent.start()
            parent.push(make_image("more"), "team/app", "1.1")
            assert (await site.sync()).images_fetched == 1


async def test_a_deleted_manifest_takes_its_tag_here(tmp_path: Path) -> None:
    """What Distribution deletes is gone from its list and its HEAD, and so from ours."""
    with Distribution(tmp_path / "parent") as parent:
        for n in range(3):
            parent.push(make_image(n), "team/app", f"1.{n}")
        async with Site(tmp_path / "site", parent.address, rules("team/app")) as site:
            await site.sync()
            parent.delete("team/app", site.tags("team/app")["1.1"])
            assert (await site.sync()).removed == 1
            assert site.tags("team/app").keys() == {"1.0", "1.2"}


async def test_cuts_and_kills_cost_little_more_than_the_blob(tmp_path: Path) -> None:
    """A large layer, five cuts and two kills: at most a mebibyte more for each of them."""
    image = make_image("large", size=40 * MIB)
    layer = image.layers[0]
    chance = random.Random(11)
    with (
        Distribution(tmp_path / "parent") as parent,
        CountingProxy("127.0.0.1", parent.port) as link,
    ):
        parent.push(image, "team/app", "1.0")
        command = [sys.executable, "-m", "peers.one_sync", str(tmp_path / "site"), link.address]
        for _ in range(2):
            link.rate_limit(30 * MIB)
            process = subprocess.Popen(
                [*command, "team/app"], cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL
            )
            stop = link.bytes_down + chance.randint(3 * MIB, 8 * MIB)
            while link.bytes_down < stop:
                await asyncio.sleep(0.005)
            process.kill()
            process.wait()
        link.rate_limit(None)

        async def cut_now_and_then() -> None:
            for _ in range(5):
                cuts = link.cuts
                link.cut_after(chance.randint(1 * MIB, 4 * MIB))
                while link.cuts == cuts:
                    await asyncio.sleep(0.001)

        async with Site(tmp_path / "site", link.address, rules("team/app")) as site:
            cutting = asyncio.create_task(cut_now_and_then())
            result = await site.sync()
            await cutting
            assert result.state is SyncState.SUCCEEDED
            assert link.cuts == 5
            assert site.blob("team/app", layer.digest) == layer.data
            states = [run.state for run in site.ledger.runs()]
            assert states == ["succeeded", "interrupted", "interrupted"]
        assert link.bytes_down <= layer.size + 7 * MIB
