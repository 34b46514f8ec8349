"""The container image is built as its Dockerfile says, and runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from peers.programs import require_program
from system.clients import ContainerTools, run
from system.replica import wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TOP = Path(__file__).resolve().parents[2]
BASE = "localhost/python"
IMAGE = "localhost/connected-registry"


def pip_settings(folder: Path) -> Path:
    """This machine's package index, for pip inside the build."""
    listed = run([sys.executable, "-m", "pip", "config", "list"])
    wanted = re.findall(r"\.((?:extra-)?index-url|cert|trusted-host)='(.*)'", listed)
    path = folder / "pip.conf"
    path.write_text(
        "[global]\n" + "".join(f"{key} = {value}\n" for key, value in dict(wanted).items())
    )
    return path


@pytest.fixture(scope="module")
def built(tools: ContainerTools, tmp_path_factory: pytest.TempPathFactory) -> ContainerTools:
    """The image, built over a Debian with Python because no base image can be pulled here."""
    folder = tmp_path_factory.mktemp("image")
    require_program("buildah")
    debian = folder / "debian"
    packages = "--include=python3,python3-venv,ca-certificates"
    run([require_program("debootstrap"), "--variant=minbase", packages, "bookworm", str(debian)])
    container = tools.buildah("from", "scratch")
    tools.buildah("copy", "--quiet", container, str(debian), "/")
    tools.buildah("commit", "--quiet", "--rm", container, BASE)
    tools.buildah(
        *("bud", "--format=docker", "--isolation=chroot", "--network=host", "--pull-never"),
        *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"),
        *("--volume", f"{pip_settings(folder)}:/etc/pip.conf:ro"),
        *("--build-arg", f"PYTHON={BASE}", "--tag", IMAGE),
        *("--file", str(TOP / "module/Dockerfile"), str(TOP)),
    )
    return tools


def test_image_serves_as_a_user_without_rights(built: ContainerTools, tmp_path: Path) -> None:
    """Started with a twin only, it becomes healthy, as user 10001, with its data in the volume."""
    twin = tmp_path / "twin.json"
    twin.write_text(json.dumps({"schemaVersion": "1.0", "anonymousPull": True}))
    container = built.podman(
        *("run", "--detach", "--network=none", "--volume", f"{twin}:/twin.json:ro"),
        *("--env", "CONNECTED_REGISTRY_TWIN=/twin.json", IMAGE),
    )
    try:
        wait_until("a healthy container", lambda: healthy(built, container))

        user = built.podman("exec", container, "id", "-u")
        held = built.podman("exec", container, "ls", "/var/acr/data")
        built.podman("stop", "--time=10", container)
        code = built.podman("inspect", "--format={{.State.ExitCode}}", container)
    finally:
        built.podman("rm", "--force", container)

    assert user == "10001"
    assert "oci-layout" in held.split()
    assert code == "0"


def healthy(tools: ContainerTools, container: str) -> bool:
    """What the image's own health check says."""
    try:
        tools.podman("healthcheck", "run", container)
    except AssertionError:
        state = tools.podman("inspect", "--format={{.State.Running}}", container)
        assert state == "true", f"it ended: {tools.logs(container)}"
        return False
    return True


def test_image_names_all_that_iot_edge_reads(built: ContainerTools) -> None:
    """User, volume, ports, health check and command are those that the deployment counts on."""
    image = json.loads(built.podman("inspect", IMAGE))[0]
    config = image["Config"]

    assert config["User"] == "10001:10001"
    assert list(config["Volumes"]) == ["/var/acr/data"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9600/tcp"}
    assert config["Entrypoint"] + config["Cmd"] == ["connected-registry", "serve"]
    assert image["HealthCheck" if "HealthCheck" in image else "Healthcheck"]["Test"]


def test_image_holds_no_tools_of_the_build(built: ContainerTools) -> None:
    """The environment in the image has no installer: what runs is what was built."""
    listed = built.podman(
        *("run", "--rm", "--network=none", "--entrypoint=ls", IMAGE),
        "/opt/connected-registry/bin",
    )

    assert "connected-registry" in listed.split()
    assert not [name for name in listed.split() if name.startswith("pip")]
