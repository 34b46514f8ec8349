"""Bundles between real replicas, read by real tools, cut by real kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peers.distribution import Distribution
from peers.images import Image, make_artifact, make_image, make_platforms, make_signature
from system.clients import ContainerTools, run
from system.conftest import ReplicaFactory
from system.replica import Replica, free_address, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SCOPE = {"scope": {"repositories": [{"name": "site/*"}]}}
APP = make_platforms("app", size=50_000)
LARGE = make_image("large", size=30_000_000)


@pytest.fixture(scope="module")
def parent(distribution: Distribution) -> Distribution:
    """A registry with an image of every kind."""
    distribution.push(APP, "site/app", "1.0", "latest")
    distribution.push(make_artifact(APP), "site/app", "sbom")
    distribution.push(make_signature(APP), "site/app")
    distribution.push(make_image("docker", docker=True), "site/docker", "v1")
    distribution.push(LARGE, "site/large", "v1")
    return distribution


@pytest.fixture
def cloud(parent: Distribution, new_replica: ReplicaFactory) -> Replica:
    """A replica with a link."""
    replica = new_replica(SCOPE, parent=parent.address)
    replica.sync()
    return replica


def blobs(replica: Replica) -> dict[str, bytes]:
    """Every content on disk."""
    return {path.name: path.read_bytes() for path in (replica.data / "blobs").rglob("*/*")}


def index(replica: Replica) -> Any:
    """The image index that other tools read, once the replica has stopped and written it."""
    replica.stop()
    return json.loads((replica.data / "index.json").read_text())


def test_site_without_a_link_equals_one_with(
    cloud: Replica, parent: Distribution, new_replica: ReplicaFactory, tmp_path: Path
) -> None:
    """By bundle the same bytes and tags arrive; a sync afterwards finds nothing to fetch."""
    bundle = tmp_path / "site.tar"
    plant = new_replica(SCOPE, parent=free_address())

    cloud.command("bundle", "export", "--output", str(bundle))
    answer = plant.command("bundle", "import", str(bundle))

    assert answer["refused"] == []
    assert plant.tags("site/app") == cloud.tags("site/app")
    assert blobs(plant) == blobs(cloud)
    plant.stop()
    later = new_replica(SCOPE, parent=parent.address)
    later.stop()
    later.data = plant.data
    later.start()
    result = later.sync()
    assert (result["imagesFetched"], result["bytesFetched"]) == (0, 0)
    assert later.status()["inSync"] == "true"
    assert index(later) == index(cloud)


def test_skopeo_reads_the_bundle(cloud: Replica, tools: ContainerTools, tmp_path: Path) -> None:
    """As an archive, and unpacked, without our software."""
    bundle, layout = tmp_path / "site.tar", tmp_path / "layout"
    layout.mkdir()
    cloud.command("bundle", "export", "--output", str(bundle))
    run(["tar", "-xf", bundle, "-C", layout])

    seen = tools.skopeo("inspect", f"oci-archive:{bundle}:site/large:v1")
    tools.skopeo(
        *("copy", "--all", "--preserve-digests"),
        *(f"oci:{layout}:site/app:1.0", f"dir:{tmp_path}/copy"),
    )

    assert json.loads(seen)["Digest"] == LARGE.digest
    assert (tmp_path / "copy/manifest.json").read_bytes() == APP.manifest.data


def test_killed_import_goes_on(cloud: Replica, new_replica: ReplicaFactory, tmp_path: Path) -> None:
    """Volumes, an import that is killed, a second one: all is here, and nothing was in between."""
    bundle = tmp_path / "site.tar"
    cloud.command("bundle", "export", "--output", str(bundle), "--volume-size", "4M")
    plant = new_replica(SCOPE, parent=free_address())
    plant.stop()
    partial = plant.data / "replica/partials" / LARGE.blobs[1].digest.replace(":", "-")
    command = [sys.executable, "-m", "connected_registry", "bundle", "import", str(bundle)]
    command += ["--data", str(plant.data)]
    importing = subprocess.Popen(
        command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(
            "half a blob or the end",
            lambda: (
                (partial.exists() and partial.stat().st_size > 0) or importing.poll() is not None
            ),
        )
    finally:
        importing.kill()
        importing.wait()
    begun = partial.stat().st_size if partial.exists() else 0
    plant.start()
    before = plant.tags("site/large")

    answer = plant.command("bundle", "import", str(bundle))

    assert importing.returncode == -9
    assert before == []
    assert begun > 0
    assert answer["bytesImported"] <= LARGE.blobs[1].size - begun + 300_000
    assert plant.digest("site/large", "v1") == LARGE.digest
    assert blobs(plant) == blobs(cloud)


def test_incremental_by_receipt(
    cloud: Replica, parent: Distribution, new_replica: ReplicaFactory, tmp_path: Path
) -> None:
    """The receipt of the first bundle keeps the second one small."""
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    plant = new_replica(SCOPE, parent=free_address())
    cloud.command("bundle", "export", "--output", str(first))
    receipt = plant.command("bundle", "import", str(first))["receipt"]
    added: Image = make_image("added", size=10_000)
    parent.push(added, "site/app", "added")
    cloud.sync()

    made = cloud.command("bundle", "export", "--output", str(second), "--receipt", receipt)
    answer = plant.command("bundle", "import", str(second))

    assert made["images"] == ["site/app:added"]
    assert second.stat().st_size < 100_000 < first.stat().st_size
    assert answer["imported"] == ["site/app:added"]
    assert plant.digest("site/app", "added") == added.digest


def test_missing_images_are_no_longer_missing(
    parent: Distribution, cloud: Replica, new_replica: ReplicaFactory, tmp_path: Path
) -> None:
    """A site that lost its link in the middle of a sync is complete after the import."""
    bundle = tmp_path / "site.tar"
    cloud.command("bundle", "export", "--output", str(bundle))
    limited = {**SCOPE, "sync": {"byteBudget": {"bytes": 200_000, "per": "P1D"}}}
    plant = new_replica(limited, parent=parent.address)
    plant.sync(expect={0, 1, 3})
    assert plant.status()["inSync"] == "false"

    plant.command("bundle", "import", str(bundle))

    status = plant.status()
    assert status["inSync"] == "true"
    assert status["missing"]["images"] == 0


def test_site_without_room(cloud: Replica, new_replica: ReplicaFactory, tmp_path: Path) -> None:
    """The quota counts for bundles as for syncs: what fits comes in, the rest is told."""
    bundle = tmp_path / "site.tar"
    cloud.command("bundle", "export", "--output", str(bundle))
    plant = new_replica({**SCOPE, "storage": {"quotaBytes": 5_000_000}}, parent=free_address())

    answer = plant.command("bundle", "import", str(bundle), expect=1)

    assert [(each["image"], each["reason"]) for each in answer["refused"]] == [
        ("site/large:v1", "disk")
    ]
    assert plant.digest("site/app", "1.0") == APP.digest


def test_wrong_arguments(cloud: Replica, tmp_path: Path) -> None:
    """What cannot be is one sentence, and exit code 2; nothing is written."""
    for arguments, expect in (
        (("export", "--output", "x.tar", "--volume-size", "much"), 2),
        (("export", "--output", "x.tar", "--image", "Team/App"), 2),
        (("import", str(tmp_path / "none.tar")), 2),
    ):
        command = [sys.executable, "-m", "connected_registry", "bundle", *arguments]
        done = subprocess.run(
            [*command, "--data", str(cloud.data)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("x.tar*")) == []
