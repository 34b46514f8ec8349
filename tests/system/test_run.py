"""The first command of the README, as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from peers.distribution import Distribution
from peers.images import make_platforms
from system.clients import ContainerTools
from system.replica import digest_at, free_address, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

RUN = Path(__file__).resolve().parents[2] / "scripts/run"


def once(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``scripts/run --once`` to its end."""
    return subprocess.run(
        [RUN, "--once", "--listen", free_address(), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def running(folder: Path, address: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``scripts/run`` in the foreground, and what it said when it was ready."""
    log = folder / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            [RUN, "--data", folder / "data", "--listen", address],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "pull again" in log.read_text()

        wait_until("the invitation", ready, 240)
        yield process, log.read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_sample_parent_replica_and_a_pull_without_the_parent(
    tools: ContainerTools, tmp_path: Path
) -> None:
    """One command gives images to pull, with the parent and without; Ctrl-C ends it all."""
    address = free_address()
    with running(tmp_path, address) as (process, said):
        hello = f"{address}/samples/hello:latest"
        pull = ("run", "--rm", "--network=none", "--tls-verify=false", "--pull=always", "--quiet")
        first = tools.podman(*pull, hello)
        match = re.search(r"kill (\d+)", said)
        assert match is not None
        os.kill(int(match[1]), signal.SIGTERM)
        second = tools.podman(*pull, hello)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)

    assert "samples/hello:1.1" in said
    assert f"curl http://{address}/v2/samples/hello/tags/list" in said
    assert first == second
    assert first.startswith("Hello from samples/hello:1.1")
    assert code == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{address}/v2/", trust_env=False)


def test_second_run_finds_everything_there(tmp_path: Path) -> None:
    """Nothing is made or fetched again, and the twin that was edited in between is kept."""
    first = once("--data", tmp_path)
    twin = tmp_path / "replica.twin.json"
    edited = twin.read_text().replace('"samples/*"', '"samples/hello"')
    twin.write_text(edited)

    second = once("--data", tmp_path)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "made samples/hello:1.0" in first.stdout
    assert "made " not in second.stdout
    assert "0 images fetched" in second.stdout
    assert twin.read_text() == edited


@pytest.mark.parametrize("form", ["file", "standard input"])
def test_parent_of_ones_own(tmp_path: Path, form: str) -> None:
    """A real registry with a password: named repositories and tags arrive, others do not."""
    with Distribution(tmp_path / "parent", htpasswd={"ada": "lace"}) as parent:
        app = parent.push(make_platforms("app"), "team/app", "1.0", "1.1", "2.0")
        (tmp_path / "password").write_text("lace\n")
        secret = ["--password-file", tmp_path / "password"]
        data = tmp_path / "data"

        answer = once(
            *("--parent", parent.address, "--protocol", "http", "--repository", "team/app:1.*"),
            *("--platform", "linux/arm64", "--username", "ada", "--data", data),
            *(secret if form == "file" else ["--password-stdin"]),
            given="lace\n",
        )

    assert answer.returncode == 0, answer.stderr
    held = {path.name for path in (data / "replica/blobs/sha256").iterdir()}
    assert app.digest.removeprefix("sha256:") in held
    platforms = {child.platform: child.digest.removeprefix("sha256:") for child in app.children}
    assert platforms["linux/arm64"] in held
    assert platforms["linux/amd64"] not in held


def test_wrong_password_ends_with_a_reason(tmp_path: Path) -> None:
    """The parent's refusal is told, and the exit code says that the sync failed."""
    with Distribution(tmp_path / "parent", htpasswd={"ada": "lace"}) as parent:
        answer = once(
            *("--parent", parent.address, "--protocol", "http", "--repository", "team/app"),
            *("--username", "ada", "--password-stdin", "--data", tmp_path / "data"),
            given="wrong\n",
        )

    assert answer.returncode == 1
    assert "unauthorized" in (answer.stdout + answer.stderr).lower()


def test_anonymous_parent_needs_no_password(tmp_path: Path, distribution: Distribution) -> None:
    """An open registry is read without a user."""
    app = distribution.push(make_platforms("open"), "open/app", "v1")

    answer = once(
        *("--parent", distribution.address, "--protocol", "http"),
        *("--repository", "open/app:v1", "--data", tmp_path),
    )

    assert answer.returncode == 0, answer.stderr
    assert digest_at(distribution.url, "open/app", "v1") == app.digest
    assert "1 images fetched" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--parent", "registry.example"], "--repository is missing"),
        (["--repository", "team/app"], "--parent is missing"),
        (["--parent", "registry.example", "--repository", "Team/App"], "--repository Team/App"),
        (["--parent", "registry.example", "--repository", "team/app:"], "--repository team/app:"),
        (
            ["--parent", "registry.example", "--repository", "a", "--platform", "arm"],
            "arm",
        ),
        (
            ["--parent", "registry.example", "--repository", "a", "--username", "ada"],
            "--password-file or --password-stdin is missing",
        ),
        (
            ["--parent", "registry.example", "--repository", "a", "--password-stdin"],
            "--username is missing",
        ),
        (["--parent", "https://registry.example", "--repository", "a"], "protocol"),
        (["--platform"], "expected one argument"),
    ],
)
def test_wrong_arguments_are_told(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """Each wrong argument is one sentence and exit code 2; nothing is started."""
    answer = once(*arguments, "--data", tmp_path / "data")

    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
