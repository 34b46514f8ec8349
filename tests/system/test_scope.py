"""Exactly what was asked for arrives, and a plan says beforehand what that is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from peers.distribution import Distribution
from peers.images import Image, make_image, make_index, make_platforms
from system.conftest import ReplicaFactory
from system.replica import Replica

pytestmark = pytest.mark.system

TAGS = ("1.0", "1.1", "1.2", "2.0")
REPOSITORIES = ("plant/a", "plant/b", "other/c")
WANTED = {"plant/a": {"1.0", "1.1", "1.2"}, "plant/b": {"1.2", "2.0"}}
PLATFORMS = {"plant/a": ("linux/amd64",), "plant/b": ("linux/arm64", "linux/arm/v7")}
SCOPE: dict[str, Any] = {
    "repositories": [
        {"name": "plant/a", "semver": "1.x", "platforms": ["linux/amd64"]},
        {
            "name": "plant/*",
            "tags": ["*.*"],
            "excludeTags": ["1.[01]"],
            "platforms": ["linux/arm64", "linux/arm/v7"],
        },
    ]
}
NEVER = {"schedule": "0 0 29 2 *"}
"""No run but those that a test asks for."""


Content = dict[tuple[str, str], Image]
"""Images by repository and tag."""


def push_content(registry: Distribution) -> Content:
    """Three repositories of four tags in three platforms."""
    return {
        (repository, tag): registry.push(
            make_platforms(f"{repository}:{tag}", size=20_000), repository, tag
        )
        for repository in REPOSITORIES
        for tag in TAGS
    }


@pytest.fixture(scope="module")
def content(distribution: Distribution) -> Content:
    """What the shared parent holds."""
    return push_content(distribution)


def fetched(distribution: Distribution, start: int) -> dict[str, set[str]]:
    """Digests that Distribution sent since ``start`` of its log, by kind."""
    found: dict[str, set[str]] = {"blobs": set(), "manifests": set()}
    for line in distribution.log[start:].splitlines():
        match = re.search(r'"GET /v2/\S+/(blobs|manifests)/(\S+) HTTP/1.1" 20', line)
        if match:
            found[match[1]].add(match[2])
    return found


def blobs_here(replica: Replica) -> set[str]:
    """Every content-addressed file in the data folder."""
    return {f"sha256:{path.name}" for path in (replica.data / "blobs/sha256").iterdir()}


def test_exactly_the_asked_set_arrives(
    distribution: Distribution, content: Content, new_replica: ReplicaFactory
) -> None:
    """Tags and platforms of the scope arrive with the digests of the parent, and nothing else."""
    replica = new_replica({"scope": SCOPE, "sync": NEVER}, parent=distribution.address)
    replica.sync()

    expected: set[str] = set()
    for repository, tags in WANTED.items():
        assert set(replica.tags(repository)) == tags
        for tag in tags:
            image = content[repository, tag]
            assert replica.digest(repository, tag) == image.digest
            expected.add(image.digest)
            for child in image.children:
                if child.platform in PLATFORMS[repository]:
                    expected |= {child.digest, *child.all_blobs()}
    assert replica.tags("other/c") == []
    assert blobs_here(replica) == expected


def test_plan_predicts_exactly(
    distribution: Distribution, content: Content, tmp_path: Path
) -> None:
    """The images, blobs and bytes of a plan are those that the sync then moves."""
    # Not served: the commands open the folder themselves, and nothing runs but what is asked for.
    replica = Replica(tmp_path / "r", {"scope": SCOPE}, parent=distribution.address)
    plan = replica.command("plan", f"--twin={replica.twin}")["result"]
    start = len(distribution.log)

    result = replica.command("sync", f"--twin={replica.twin}")["result"]

    moved = fetched(distribution, start)
    wanted = {
        blob.digest: blob.size
        for repository, tags in WANTED.items()
        for tag in tags
        for child in content[repository, tag].children
        if child.platform in PLATFORMS[repository]
        for blob in child.blobs
    }
    assert moved == {"blobs": set(wanted), "manifests": set()}
    assert plan["imagesToFetch"] == result["imagesFetched"] == 5
    assert plan["blobs"] == len(wanted)
    assert plan["bytes"] == result["bytesFetched"] == sum(wanted.values())


def test_plan_after_sync_is_empty(
    distribution: Distribution, content: Content, new_replica: ReplicaFactory
) -> None:
    """With nothing changed there is nothing to fetch, and no manifest body is asked for."""
    replica = new_replica({"scope": SCOPE, "sync": NEVER}, parent=distribution.address)
    replica.sync()
    start = len(distribution.log)

    plan = replica.command("plan")["result"]
    replica.sync()

    assert (plan["imagesToFetch"], plan["blobs"], plan["bytes"]) == (0, 0, 0)
    assert fetched(distribution, start) == {"blobs": set(), "manifests": set()}


def test_layers_held_already_are_not_fetched(
    distribution: Distribution, new_replica: ReplicaFactory
) -> None:
    """A new tag that shares its layers costs its manifest and config only, in any repository."""
    base = make_image("base", size=500_000)
    shared = ((base.layers[0], "sha256:" + "0" * 64),)
    distribution.push(base, "shared/base", "1")
    replica = new_replica(
        {"scope": {"repositories": [{"name": "shared/*"}]}, "sync": NEVER},
        parent=distribution.address,
    )
    replica.sync()
    child = distribution.push(make_image("child", layers=0, shared=shared), "shared/child", "1")
    start = len(distribution.log)

    replica.sync()

    assert replica.digest("shared/child", "1") == child.digest
    assert fetched(distribution, start)["blobs"] == {child.blobs[0].digest}


def test_explain_and_check_name_the_reason(
    distribution: Distribution, content: Content, new_replica: ReplicaFactory
) -> None:
    """Absent images are explained by the rule that left them out; present ones are complete."""
    replica = new_replica({"scope": SCOPE, "sync": NEVER}, parent=distribution.address)
    replica.sync()

    complete = replica.command("check", "plant/a:1.0", "--platform", "linux/amd64")
    other_platform = replica.command("check", "plant/a:1.0", "--platform", "linux/arm64", expect=1)
    unwanted_tag = replica.command("explain", "plant/a:2.0", expect=1)
    unwanted_repository = replica.command("explain", "other/c:1.0", expect=1)

    assert complete["images"][0]["complete"]
    assert not other_platform["images"][0]["complete"]
    assert "1.x" in unwanted_tag["detail"]
    assert "scope" in unwanted_repository["reason"]


def test_sparse_index_serves_its_platforms(
    distribution: Distribution, content: Content, new_replica: ReplicaFactory
) -> None:
    """An index keeps its digest; wanted children are here, others are honestly missing."""
    index = make_index(
        *(make_image("sparse", platform=each) for each in ("linux/amd64", "linux/arm64"))
    )
    distribution.push(index, "sparse/app", "1")
    rule = {"name": "sparse/app", "platforms": ["linux/arm64"]}
    replica = new_replica(
        {"scope": {"repositories": [rule]}, "sync": NEVER}, parent=distribution.address
    )
    replica.sync()

    amd64, arm64 = index.children

    assert replica.digest("sparse/app", "1") == index.digest
    assert replica.digest("sparse/app", arm64.digest) == arm64.digest
    assert replica.digest("sparse/app", amd64.digest) is None
