"""What is written for each client."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from connected_registry.cli.client_config import client_config
from connected_registry.cli.exits import Exit
from connected_registry.cli.mirror import Client, Mirror, set_up
from connected_registry.errors import ConfigurationError

EDGE = Mirror.parse("http://10.1.2.3:8080", "cloud.example")


@pytest.mark.parametrize("client", list(Client))
def test_each_client_is_told_about_credentials(client: Client) -> None:
    """The one thing that surprises everybody is said for each."""
    for upstream in ("docker.io", "cloud.example:5000"):
        notes = set_up(client, Mirror.parse("edge", upstream)).notes

        assert any(note.startswith("Credentials: ") for note in notes)


def test_containerd() -> None:
    """Resolve is among the capabilities, and the upstream stays the server."""
    (file,) = set_up(Client.CONTAINERD, EDGE).files

    document = tomllib.loads(file.content)
    assert str(file.path) == "etc/containerd/certs.d/cloud.example/hosts.toml"
    assert document["server"] == "https://cloud.example"
    assert document["host"] == {
        "http://10.1.2.3:8080": {"capabilities": ["pull", "resolve"], "dial_timeout": "2s"}
    }


def test_docker_hub_answers_under_another_name() -> None:
    """Every name of Docker Hub is one registry."""
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        (file,) = set_up(Client.CONTAINERD, Mirror.parse("edge", name)).files
        assert file.path.parent.name == "docker.io"
        assert 'server = "https://registry-1.docker.io"' in file.content


def test_podman() -> None:
    """The mirror is insecure only for plain HTTP."""
    for mirror, insecure in ((EDGE, True), (Mirror.parse("edge", "cloud.example"), False)):
        (file,) = set_up(Client.PODMAN, mirror).files
        (registry,) = tomllib.loads(file.content)["registry"]
        assert registry["prefix"] == registry["location"] == "cloud.example"
        assert registry["mirror"] == [{"location": mirror.registry, "insecure": insecure}]


def test_docker_mirrors_only_the_hub() -> None:
    """For other registries the note says what Docker can do."""
    hub = set_up(Client.DOCKER, Mirror.parse("http://10.1.2.3:8080", "docker.io"))
    other = set_up(Client.DOCKER, Mirror.parse("https://edge", "cloud.example"))

    assert json.loads(hub.files[0].content) == {
        "registry-mirrors": ["http://10.1.2.3:8080"],
        "insecure-registries": ["10.1.2.3:8080"],
    }
    assert [str(file.path) for file in other.files] == [
        "etc/docker/certs.d/cloud.example/hosts.toml"
    ]
    assert any("edge/NAME:TAG" in note for note in other.notes)


def test_authority() -> None:
    """A private authority is named where the client takes one."""
    mirror = Mirror.parse("edge:443", "cloud.example", None, PurePosixPath("/etc/ssl/plant.pem"))

    for client in Client:
        setup = set_up(client, mirror)
        told = [*(file.content for file in setup.files), *setup.notes]
        assert any("/etc/ssl/plant.pem" in text for text in told)


@pytest.mark.parametrize(
    ("registry", "upstream", "key"),
    [
        ("ftp://edge", "docker.io", "--registry"),
        ("edge/path", "docker.io", "--registry"),
        ('edge"', "docker.io", "--registry"),
        ("edge", "https://docker.io", "--mirror-of"),
        ("edge", "../../etc", "--mirror-of"),
        ("edge", "edge", "--mirror-of"),
        ("edge", "", "--mirror-of"),
    ],
)
def test_names_that_are_none(registry: str, upstream: str, key: str) -> None:
    """Nothing but a host becomes part of a path or a file."""
    with pytest.raises(ConfigurationError) as refused:
        Mirror.parse(registry, upstream)
    assert refused.value.key == key


def write(root: Path, client: Client, upstream: str = "docker.io") -> Exit:
    """Write a setup below ``root``."""
    return client_config(
        client, "http://10.1.2.3:8080", upstream, None, None, write=True, root=root, json=True
    )


@pytest.mark.parametrize("client", list(Client))
def test_written_twice_is_written_once(
    tmp_path: Path, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again changes nothing."""
    write(tmp_path, client)
    files = json.loads(capsys.readouterr().out)["files"]
    first = {path: Path(path).read_text() for path in files}

    write(tmp_path, client)

    assert first == files
    assert {path: Path(path).read_text() for path in files} == first


def test_printing_writes_nothing(tmp_path: Path) -> None:
    """Without --write the disk is left alone."""
    client_config(
        Client.PODMAN, "edge", "docker.io", None, None, write=False, root=tmp_path, json=False
    )

    assert list(tmp_path.iterdir()) == []


def test_daemon_file_keeps_what_it_has(tmp_path: Path) -> None:
    """Docker's settings are merged, nothing of them lost."""
    file = tmp_path / "etc/docker/daemon.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"data-root": "/big", "registry-mirrors": ["https://other"]}')

    write(tmp_path, Client.DOCKER)

    assert json.loads(file.read_text()) == {
        "data-root": "/big",
        "registry-mirrors": ["https://other", "http://10.1.2.3:8080"],
        "insecure-registries": ["10.1.2.3:8080"],
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"registry-mirrors": "one"}'])
def test_damaged_daemon_file_is_left_alone(tmp_path: Path, text: str) -> None:
    """What Docker could not read either is not written over."""
    file = tmp_path / "etc/docker/daemon.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)

    with pytest.raises(ConfigurationError, match="repair it first"):
        write(tmp_path, Client.DOCKER)
    assert file.read_text() == text


def test_file_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    """Only files with our mark are replaced."""
    file = tmp_path / "etc/rancher/k3s/registries.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("mirrors: {}\n")

    with pytest.raises(ConfigurationError, match="merge by hand"):
        write(tmp_path, Client.K3S)
    assert file.read_text() == "mirrors: {}\n"
