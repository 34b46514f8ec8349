"""Every planted fault is found, and its remedy named."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from connected_registry.cli import doctor as under_test
from connected_registry.cli.check_folder import check_disk, check_folder
from connected_registry.cli.check_network import check_clock
from connected_registry.cli.finding import Finding, State
from connected_registry.policy.storage import StoragePolicy
from connected_registry.settings import settings_rows
from peers.images import make_image
from peers.scripted import Reply, ScriptedRegistry

REFUSED = Reply.error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="parent"')


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Only what a test sets; certificates are in a folder of its own."""
    for row in settings_rows():
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.setenv("ACR_REGISTRY_CERTIFICATE_VOLUME", str(tmp_path / "certs"))
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_PROTOCOL", "http")
    return monkeypatch


@pytest.fixture
def parent(environment: pytest.MonkeyPatch) -> Iterator[ScriptedRegistry]:
    """A parent that has what the twin asks for."""
    with ScriptedRegistry() as registry:
        registry.hold(make_image("app"), "team/app", "1.0")
        environment.setenv("CONNECTED_REGISTRY_PARENT", registry.address)
        yield registry


async def look(tmp_path: Path, *repositories: str, **more: Any) -> list[Finding]:
    """What doctor finds on a site that wants these repositories."""
    twin = tmp_path / "twin.json"
    rules = [{"name": name} for name in repositories or ("team/app",)]
    reserve = {"storage": {"reserveBytes": 0}}
    twin.write_text(json.dumps({"scope": {"repositories": rules}, **reserve, **more}))
    return await under_test.examine(tmp_path / "data", twin, tmp_path)


def problems(findings: list[Finding]) -> dict[str, Finding]:
    """Those that are problems, by check; each names a remedy."""
    found = {each.check: each for each in findings if each.state is State.PROBLEM}
    assert all(each.remedy for each in found.values())
    return found


async def test_nothing_is_wrong(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """A healthy site has no problem, and every check has looked."""
    found = await look(tmp_path)

    assert problems(found) == {}
    looked = {each.check for each in found if each.state is not State.SKIPPED}
    assert {"twin", "data folder", "disk", "clock", "parent login", "parent rights"} <= looked


async def test_nothing_is_changed(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """A look makes no folder."""
    await look(tmp_path)

    assert not (tmp_path / "data").exists()


def test_folder_of_another_user(tmp_path: Path) -> None:
    """The owner is named, and how to change it."""
    os.chown(tmp_path, 65534, 65534)

    found = check_folder(tmp_path)

    assert found.state is State.PROBLEM
    assert "belongs to user 65534" in found.text
    assert "chown" in found.remedy


@pytest.mark.parametrize("kind", ["link", "file", "foreign"])
async def test_folder_that_is_none(parent: ScriptedRegistry, tmp_path: Path, kind: str) -> None:
    """A link, a file and a folder of something else cannot be used."""
    data = tmp_path / "data"
    make: dict[str, Callable[[], Any]] = {
        "link": lambda: data.symlink_to(tmp_path),
        "file": lambda: data.write_text(""),
        "foreign": lambda: (data.mkdir(), (data / "photos").mkdir()),
    }
    make[kind]()

    assert "data folder" in problems(await look(tmp_path))


async def test_folder_held_by_a_process_that_does_not_answer(
    parent: ScriptedRegistry, tmp_path: Path
) -> None:
    """The process is named."""
    lock = tmp_path / "data/replica/lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        found = problems(await look(tmp_path))["lock"]

    assert f"process {os.getpid()}" in found.text
    assert f"ps {os.getpid()}" in found.remedy


async def test_damaged_database(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told without opening it for writing."""
    database = tmp_path / "data/replica/registry.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"x" * 5000)

    found = problems(await under_test.examine(tmp_path / "data", None, tmp_path))

    assert str(database) in found["twin"].text


def test_disk_within_its_reserve(tmp_path: Path) -> None:
    """Nothing can be fetched, and three ways out are named."""
    found = check_disk(tmp_path, StoragePolicy(reserve_bytes=2**60))

    assert found.state is State.PROBLEM
    assert "storage.reserveBytes" in found.remedy


@pytest.mark.parametrize("year", [1970, 2200])
def test_clock_of_another_century(year: int) -> None:
    """A machine without a battery says 1970."""
    found = check_clock(datetime(year, 1, 1, tzinfo=UTC), None)

    assert found.state is State.PROBLEM
    assert "timedatectl" in found.remedy


async def test_clock_apart_from_the_parents(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """The parent's Date tells."""
    later = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    head = f"HTTP/1.1 200 OK\r\nDate: {later}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    parent.on("/v2/", Reply(raw=head.encode()))

    assert "s from the parent's" in problems(await look(tmp_path))["clock"].text


async def test_unknown_parent(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that nobody knows is a matter of DNS, not of the login."""
    environment.setenv("CONNECTED_REGISTRY_PARENT", "registry.invalid")

    found = problems(await look(tmp_path))

    assert set(found) == {"DNS"}
    assert "/etc/resolv.conf" in found["DNS"].remedy


async def test_parent_away(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port that refuses is a matter of the way."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        environment.setenv("CONNECTED_REGISTRY_PARENT", address)

        found = problems(await look(tmp_path))

    assert "firewall" in found["parent login"].remedy


async def test_wrong_password(
    parent: ScriptedRegistry, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The login is refused: a new password is needed."""
    environment.setenv("CONNECTED_REGISTRY_PARENT_USERNAME", "ada")
    environment.setenv("CONNECTED_REGISTRY_PARENT_PASSWORD", "wrong")
    parent.on("/v2/", REFUSED)

    found = problems(await look(tmp_path))["parent login"]

    assert "ada" in found.text
    assert "wrong" not in found.text
    assert "new password" in found.remedy


async def test_rights_missing_on_one_repository(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """The repository and the two rights are named; the other one is well."""
    parent.on("/v2/team/secret/tags/list", REFUSED)

    found = await look(tmp_path, "team/app", "team/secret")

    refused = problems(found)["parent rights"]
    assert "team/secret" in refused.text
    assert "content/read and metadata/read on team/secret" in refused.remedy
    assert any(each.text == "team/app: 1 tags can be read" for each in found)


async def test_repository_that_is_not_there(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """A misspelt name is told."""
    found = problems(await look(tmp_path, "team/ap"))["parent rights"]

    assert "team/ap is not at the parent" in found.text


async def test_catalogue_refused(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """A pattern without the right to list says what to do."""
    parent.on("/v2/_catalog", REFUSED)

    found = problems(await look(tmp_path, "team/*"))["parent rights"]

    assert "catalogue" in found.remedy


@pytest.mark.parametrize("fault", ["expired", "key", "half"])
async def test_certificate(parent: ScriptedRegistry, tmp_path: Path, fault: str) -> None:
    """Expired, with another's key, or without one."""
    folder = tmp_path / "certs"
    folder.mkdir()
    authority = trustme.CA()
    until = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
    issued, other = authority.issue_cert("edge", not_after=until), authority.issue_cert("edge")
    (folder / "tls.crt").write_bytes(issued.cert_chain_pems[0].bytes())
    if fault != "half":
        key = issued if fault == "expired" else other
        key.private_key_pem.write_to_path(folder / "tls.key")

    found = problems(await look(tmp_path))["certificate"]

    assert str(folder) in found.text + found.remedy


async def test_hub_identity(
    parent: ScriptedRegistry, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cut connection string is told without the key in it."""
    environment.setenv(
        "CONNECTED_REGISTRY_HUB_CONNECTION_STRING", "HostName=hub;SharedAccessKey=c2VjcmV0"
    )

    found = problems(await look(tmp_path))["hub"]

    assert "c2VjcmV0" not in found.text


async def test_hub_away(
    parent: ScriptedRegistry, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The port that has to be open is named."""
    environment.setenv(
        "CONNECTED_REGISTRY_HUB_CONNECTION_STRING",
        "HostName=hub.invalid;DeviceId=d;ModuleId=m;SharedAccessKey=c2VjcmV0",
    )

    assert "8883" in problems(await look(tmp_path))["hub"].remedy


async def test_wrong_twin(parent: ScriptedRegistry, tmp_path: Path) -> None:
    """The key is named."""
    found = problems(await look(tmp_path, mode="Sometimes"))["twin"]

    assert "mode" in found.text


async def test_wrong_setting(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that cannot be read is told."""
    environment.setenv("CONNECTED_REGISTRY_LISTEN", "everywhere")

    assert "CONNECTED_REGISTRY_LISTEN" in problems(await look(tmp_path))["settings"].text


@pytest.mark.parametrize(
    ("path", "text", "remedy"),
    [
        (
            "etc/containerd/certs.d/docker.io/hosts.toml",
            '[host."http://edge:80"]\n  capabilities = ["pull"]\n',
            '"resolve"',
        ),
        ("etc/docker/daemon.json", '{"registry-mirrors": [', "repair"),
        (
            "etc/docker/daemon.json",
            '{"registry-mirrors": ["http://edge:80"]}',
            "insecure-registries",
        ),
    ],
)
async def test_client_set_up_wrongly(
    parent: ScriptedRegistry,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
    path: str,
    text: str,
    remedy: str,
) -> None:
    """What keeps a client on this machine from using the replica."""
    environment.setenv("ACR_REGISTRY_LOGIN_SERVER", "edge:80")
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)

    assert remedy in problems(await look(tmp_path))["clients"].remedy
