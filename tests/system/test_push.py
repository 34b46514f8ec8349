"""Real clients push to a replica that takes pushes, and are refused by one that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from peers.images import Image, make_artifact, make_platforms, push
from system.clients import ClientError, ContainerTools
from system.conftest import ReplicaFactory
from system.replica import Replica, digest_at

pytestmark = pytest.mark.system

READ_WRITE: dict[str, Any] = {"mode": "ReadWrite"}


@pytest.fixture
def registry(new_replica: ReplicaFactory) -> Replica:
    """A ReadWrite replica without a parent: a plain registry."""
    return new_replica(READ_WRITE)


def pushed_by_skopeo(tools: ContainerTools, source: str, target: str) -> None:
    """Copy with all platforms and the same digests."""
    tools.skopeo(
        *("copy", "--all", "--preserve-digests", "--src-tls-verify=false"),
        *("--dest-tls-verify=false", source, target),
    )


def test_skopeo_copies_in_and_out(registry: Replica, tools: ContainerTools, tmp_path: Path) -> None:
    """What skopeo pushes has the same digest under its tag and comes back the same."""
    app = push(make_platforms("app", size=200_000), registry.url, "in/app", "1.0")

    pushed_by_skopeo(
        tools, f"docker://{registry.listen}/in/app:1.0", f"docker://{registry.listen}/out/app:2.0"
    )
    pushed_by_skopeo(tools, f"docker://{registry.listen}/out/app:2.0", f"oci:{tmp_path}/out:app")

    assert registry.digest("out/app", "2.0") == app.digest
    assert (tmp_path / "out/blobs/sha256" / app.digest.removeprefix("sha256:")).exists()


def test_podman_and_buildah_push(registry: Replica, tools: ContainerTools) -> None:
    """An image built by buildah is pushed, pulled by podman, pushed again and runs."""
    tools.build_busybox(f"{registry.listen}/team/tool:built", "round trip")
    first = f"{registry.listen}/team/tool:built"
    second = f"{registry.listen}/team/copy:again"

    tools.podman("pull", "--quiet", "--tls-verify=false", first)
    tools.podman("push", "--quiet", "--tls-verify=false", first, f"docker://{second}")

    said = tools.podman(
        *("run", "--rm", "--network=none", "--quiet", "--pull=always", "--tls-verify=false"),
        second,
    )
    assert said.splitlines()[-1] == "round trip"


def test_pushes_survive_a_kill(registry: Replica, tools: ContainerTools, tmp_path: Path) -> None:
    """What was acknowledged is there after kill -9."""
    app = push(make_platforms("kept"), registry.url, "team/kept", "v1", "v2")
    registry.kill()

    registry.start()

    assert registry.tags("team/kept") == ["v1", "v2"]
    pushed_by_skopeo(tools, f"docker://{registry.listen}/team/kept:v1", f"oci:{tmp_path}/out:kept")
    assert registry.digest("team/kept", app.digest) == app.digest


def test_skopeo_deletes(registry: Replica, tools: ContainerTools) -> None:
    """A manifest is deleted with every tag that named it."""
    push(make_platforms("gone"), registry.url, "team/gone", "v1", "latest")

    tools.skopeo("delete", "--tls-verify=false", f"docker://{registry.listen}/team/gone:v1")

    assert registry.digest("team/gone", "latest") is None


def test_referrers_are_listed(registry: Replica) -> None:
    """An artifact that names a subject is listed under it."""
    app = push(make_platforms("signed"), registry.url, "team/signed", "v1")
    artifact = push(make_artifact(app), registry.url, "team/signed")

    answer = httpx.get(f"{registry.url}/v2/team/signed/referrers/{app.digest}", trust_env=False)

    assert [each["digest"] for each in answer.json()["manifests"]] == [artifact.digest]


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(
            lambda tools, registry, layout: tools.skopeo(
                "copy", "--dest-tls-verify=false", layout, f"docker://{registry}/team/app:1"
            ),
            id="push",
        ),
        pytest.param(
            lambda tools, registry, _: tools.skopeo(
                "delete", "--tls-verify=false", f"docker://{registry}/team/app:1"
            ),
            id="delete",
        ),
    ],
)
def test_read_only_replica_refuses(
    new_replica: ReplicaFactory,
    registry: Replica,
    tools: ContainerTools,
    tmp_path: Path,
    attempt: Callable[[ContainerTools, str, str], str],
) -> None:
    """A ReadOnly replica answers pushes and deletes in the words of the original."""
    image: Image = push(make_platforms("app"), registry.url, "team/app", "1")
    layout = f"oci:{tmp_path}/layout:app"
    pushed_by_skopeo(tools, f"docker://{registry.listen}/team/app:1", layout)
    scope = {"repositories": [{"name": "team/*"}]}
    replica = new_replica({"scope": scope}, parent=registry.listen)
    replica.sync()

    with pytest.raises(ClientError, match=r"(?i)not allowed on this registry|denied|405"):
        attempt(tools, replica.listen, layout)

    assert digest_at(replica.url, "team/app", "1") == image.digest
