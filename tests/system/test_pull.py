"""Real clients pull from a replica what a real registry held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers.distribution import Distribution
from peers.images import Image, make_artifact, make_image, make_platforms, make_signature
from sample.image import runnable
from sample.program import greeting
from system.clients import Containerd, ContainerTools
from system.replica import Replica, digest_at

pytestmark = pytest.mark.system

GREETING = "built by buildah"


@pytest.fixture(scope="module")
def app() -> Image:
    """A multi-platform image with layers enough to be copied."""
    return make_platforms("app", size=50_000)


@pytest.fixture(scope="module")
def replica(
    folder: Path, distribution: Distribution, tools: ContainerTools, app: Image
) -> Iterator[Replica]:
    """A replica that is in sync with Distribution and has lost it since."""
    tools.build_busybox(f"{distribution.address}/site/busybox:built", GREETING)
    distribution.push(app, "site/app", "1.0", "latest")
    distribution.push(make_artifact(app), "site/app", "sbom")
    distribution.push(make_signature(app), "site/app")
    distribution.push(make_image("docker", docker=True), "site/docker", "v1")
    desired = {"scope": {"repositories": [{"name": "site/*"}]}}
    with Replica(folder / "replica", desired, parent=distribution.address) as replica:
        replica.sync()
        distribution.stop()
        yield replica


def test_skopeo_lists_the_tags(replica: Replica, tools: ContainerTools, app: Image) -> None:
    """Every tag of the parent is listed, the signature's among them."""
    listed = tools.skopeo("list-tags", "--tls-verify=false", f"docker://{replica.listen}/site/app")

    assert set(json.loads(listed)["Tags"]) == {
        "1.0",
        "latest",
        "sbom",
        app.digest.replace(":", "-") + ".sig",
    }


def test_skopeo_inspects_the_same_digest(
    replica: Replica, tools: ContainerTools, app: Image
) -> None:
    """A tag has the digest that it has at the parent."""
    seen = tools.skopeo("inspect", "--tls-verify=false", f"docker://{replica.listen}/site/app:1.0")

    assert json.loads(seen)["Digest"] == app.digest


def test_skopeo_copies_all_platforms(
    replica: Replica, tools: ContainerTools, app: Image, tmp_path: Path
) -> None:
    """A whole multi-platform image arrives in an OCI layout, byte for byte."""
    tools.skopeo(
        *("copy", "--all", "--preserve-digests", "--src-tls-verify=false"),
        *(f"docker://{replica.listen}/site/app:latest", f"oci:{tmp_path}/layout:app"),
    )

    blobs = tmp_path / "layout/blobs/sha256"
    wanted = {image.digest for image in app.everything()} | set(app.all_blobs())
    assert {f"sha256:{path.name}" for path in blobs.iterdir()} >= wanted


def test_skopeo_copies_docker_manifests_as_they_are(
    replica: Replica, tools: ContainerTools, tmp_path: Path
) -> None:
    """An image in Docker's own format keeps its format and digest."""
    image = make_image("docker", docker=True)
    tools.skopeo(
        *("copy", "--preserve-digests", "--src-tls-verify=false"),
        *(f"docker://{replica.listen}/site/docker:v1", f"dir:{tmp_path}/copy"),
    )

    assert (tmp_path / "copy/manifest.json").read_bytes() == image.manifest.data


def test_skopeo_syncs_a_repository(replica: Replica, tools: ContainerTools, tmp_path: Path) -> None:
    """``skopeo sync`` walks the tags of a repository and takes each."""
    tools.skopeo(
        *("sync", "--all", "--src-tls-verify=false", "--src", "docker", "--dest", "dir"),
        *(f"{replica.listen}/site/docker", str(tmp_path)),
    )

    assert (tmp_path / "docker:v1/manifest.json").exists()


def test_podman_runs_what_buildah_built(replica: Replica, tools: ContainerTools) -> None:
    """An image built on busybox is pulled and its program runs."""
    said = tools.podman(
        *("run", "--rm", "--network=none", "--tls-verify=false", "--pull=always", "--quiet"),
        f"{replica.listen}/site/busybox:built",
    )

    assert said.splitlines()[-1] == GREETING


def test_podman_pulls_by_digest(replica: Replica, tools: ContainerTools) -> None:
    """A digest is as good a name as a tag."""
    digest = digest_at(replica.url, "site/busybox", "built")
    image = f"{replica.listen}/site/busybox@{digest}"

    tools.podman("pull", "--quiet", "--tls-verify=false", image)

    assert tools.podman("image", "exists", image) == ""


def test_containerd_runs_the_image(replica: Replica, containerd: Containerd) -> None:
    """containerd pulls and runs the same image."""
    image = f"{replica.listen}/site/busybox:built"
    containerd.ctr("image", "pull", "--plain-http", image)

    assert containerd.ctr("run", "--rm", image, "first") == GREETING


def test_containerd_uses_it_as_a_mirror(
    replica: Replica, containerd: Containerd, tmp_path: Path
) -> None:
    """As a mirror of a name that no network knows, it is asked with ``ns=`` and serves."""
    hosts = tmp_path / "cloud.example"
    hosts.mkdir()
    (hosts / "hosts.toml").write_text(
        f'server = "http://{replica.listen}"\n'
        f'[host."http://{replica.listen}"]\ncapabilities = ["pull", "resolve"]\n'
    )
    image = "cloud.example/site/busybox:built"
    containerd.ctr("image", "pull", "--hosts-dir", str(tmp_path), image)

    assert containerd.ctr("run", "--rm", image, "mirrored") == GREETING


def test_sample_program_prints_its_greeting(tools: ContainerTools, tmp_path: Path) -> None:
    """The hand-made program of the sample parent runs in a container of its own."""
    image = runnable("amd64", {"hello": greeting("amd64", "hello there")}, ["/hello"])
    layout = tmp_path / "layout"
    for content in (image.root, *image.blobs):
        path = layout / "blobs/sha256" / content.digest.removeprefix("sha256:")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.data)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [image.root.descriptor()]})
    )

    said = tools.podman("run", "--rm", "--network=none", "--quiet", f"oci:{layout}")

    assert said.splitlines()[-1] == "hello there"
