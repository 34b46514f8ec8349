"""Real clients use the replica by what ``client-config`` writes, and the cloud when it is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peers.distribution import Distribution
from peers.images import make_image
from peers.programs import require_program
from system.clients import ClientError, Containerd, ContainerTools, run
from system.conftest import ReplicaFactory
from system.replica import Replica, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

IMAGE = make_image("app", size=50_000)
LATER = make_image("later", size=50_000)
NOWHERE = "cloud.example"


@pytest.fixture
def parent(distribution: Distribution) -> Distribution:
    """The registry in the cloud; it has one more image than the replica."""
    distribution.push(IMAGE, "site/app", "1.0")
    distribution.push(LATER, "other/app", "1.0")
    return distribution


@pytest.fixture
def replica(parent: Distribution, new_replica: ReplicaFactory) -> Replica:
    """A replica that is in sync."""
    made = new_replica({"scope": {"repositories": [{"name": "site/*"}]}}, parent=parent.address)
    made.sync()
    return made


def write(client: str, registry: str, upstream: str, root: Path) -> list[Path]:
    """Let the command write a client's files below ``root``."""
    command = [sys.executable, "-m", "connected_registry", "client-config", client, "--json"]
    options = ["--registry", registry, "--mirror-of", upstream, "--write", "--root", str(root)]
    return [Path(path) for path in json.loads(run([*command, *options]))["files"]]


def test_containerd_pulls_by_the_clouds_name(
    replica: Replica, containerd: Containerd, tmp_path: Path
) -> None:
    """An image of a registry that no network knows comes from the replica."""
    write("containerd", replica.url, NOWHERE, tmp_path)
    hosts = tmp_path / "etc/containerd/certs.d"

    containerd.ctr("content", "fetch", "--hosts-dir", str(hosts), f"{NOWHERE}/site/app:1.0")

    assert IMAGE.digest in containerd.ctr("images", "ls")


def test_containerd_goes_on_to_the_cloud(
    replica: Replica, parent: Distribution, containerd: Containerd, tmp_path: Path
) -> None:
    """What the replica does not have, and everything once it is gone, comes from the cloud."""
    (file,) = write("containerd", replica.url, parent.address, tmp_path)
    hosts = str(tmp_path / "etc/containerd/certs.d")
    # The registry in the cloud of this test speaks plain HTTP.
    file.write_text(file.read_text().replace(f"https://{parent.address}", parent.url))

    containerd.ctr("content", "fetch", "--hosts-dir", hosts, f"{parent.address}/other/app:1.0")
    replica.stop()
    containerd.ctr("content", "fetch", "--hosts-dir", hosts, f"{parent.address}/site/app:1.0")

    listed = containerd.ctr("images", "ls")
    assert LATER.digest in listed
    assert IMAGE.digest in listed


@contextmanager
def registries(tools: ContainerTools, file: Path) -> Iterator[None]:
    """podman reads ``file`` besides their own settings."""
    own = Path(tools._environment["CONTAINERS_REGISTRIES_CONF"])
    before = own.read_text()
    own.write_text(before + file.read_text())
    try:
        yield
    finally:
        own.write_text(before)


def test_podman_pulls_by_the_clouds_name(
    replica: Replica, tools: ContainerTools, tmp_path: Path
) -> None:
    """podman asks the mirror, also for plain HTTP."""
    (file,) = write("podman", replica.url, NOWHERE, tmp_path)

    with registries(tools, file):
        image = f"{NOWHERE}/site/app:1.0"
        tools.podman("pull", "--quiet", image)

    digest = tools.podman("image", "inspect", "--format", "{{.Digest}}", image)
    assert digest == IMAGE.digest


def test_podman_goes_on_to_the_cloud(
    replica: Replica, parent: Distribution, tools: ContainerTools, tmp_path: Path
) -> None:
    """A replica that refuses costs nothing but the attempt."""
    (file,) = write("podman", replica.url, parent.address, tmp_path)
    # The registry in the cloud of this test speaks plain HTTP.
    place = f'location = "{parent.address}"'
    file.write_text(file.read_text().replace(place, f"{place}\ninsecure = true", 1))
    replica.stop()

    with registries(tools, file):
        image = f"{parent.address}/site/app:1.0"
        tools.podman("pull", "--quiet", image)

    digest = tools.podman("image", "inspect", "--format", "{{.Digest}}", image)
    assert digest == IMAGE.digest


@contextmanager
def docker_daemon(config: Path) -> Iterator[str]:
    """A Docker Engine with folders of its own; the address of its socket."""
    program = require_program("dockerd")
    with tempfile.TemporaryDirectory(prefix="dk-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        address = f"unix://{folder}/d.sock"
        command = [program, "--config-file", config, "--data-root", folder / "data"]
        command += ["--exec-root", folder / "run", "--pidfile", folder / "pid", "-H", address]
        command += ["--iptables=false", "--bridge=none", "--storage-driver=vfs"]
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})

        def answers() -> bool:
            assert daemon.poll() is None, (folder / "log").read_text()[-2000:]
            try:
                run([require_program("docker"), "-H", address, "version"])
            except ClientError:
                return False
            return True

        try:
            wait_until("dockerd", answers)
            yield address
        finally:
            daemon.terminate()
            daemon.wait()


def test_docker_pulls_docker_hubs_name(replica: Replica, tmp_path: Path) -> None:
    """Docker asks the mirror for images of Docker Hub; no network is there to help."""
    (file,) = write("docker", replica.url, "docker.io", tmp_path)

    with docker_daemon(file) as address:
        docker = [require_program("docker"), "-H", address]
        run([*docker, "pull", "--quiet", "site/app:1.0"])
        digests = run([*docker, "image", "inspect", "-f", "{{.RepoDigests}}", "site/app:1.0"])

    assert IMAGE.digest in digests
