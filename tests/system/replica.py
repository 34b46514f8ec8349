"""A replica in a process of its own, as it runs on site."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

YES_OR_NO = {0, 1}
OFFLINE = 3
"""Exit codes of commands."""

PATIENCE = 60.0
"""Seconds to wait for something that comes in a moment on a machine that is not busy."""


def free_address() -> str:
    """``host:port`` on a loopback address that no other test uses, so that it can be bound again.

    Outgoing connections leave from 127.0.0.1 and can therefore not take the port in between.
    """
    host = ".".join(["127", *(str(random.randrange(1, 255)) for _ in range(3))])
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


def wait_until(what: str, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true value of ``condition``; fails naming ``what`` when it never comes."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for: {what}"
        time.sleep(0.05)
    return value


class Replica:
    """One data folder and the process that serves it; may be started and ended many times."""

    def __init__(
        self,
        folder: Path,
        desired: dict[str, Any],
        *,
        parent: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.listen = free_address()
        self.url = f"http://{self.listen}"
        self.data = folder / "data"
        self.twin = folder / "twin.json"
        self.reported_file = folder / "reported.json"
        self.log = folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700)
        self.write_twin(desired)
        settings = {
            "CONNECTED_REGISTRY_PARENT": parent or "",
            "CONNECTED_REGISTRY_PARENT_PROTOCOL": "http",
        }
        self._environment = {**os.environ, **settings, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def write_twin(self, desired: dict[str, Any]) -> None:
        """Replace the file of desired properties, whole."""
        new = self.twin.with_suffix(".new")
        new.write_text(json.dumps({"schemaVersion": "1.0", **desired}))
        new.replace(self.twin)

    def start(self) -> Self:
        """Start the process and wait until it answers."""
        command = [sys.executable, "-m", "connected_registry", "serve"]
        command += ["--data", str(self.data), "--listen", self.listen]
        command += ["--twin", str(self.twin), "--reported", str(self.reported_file)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(f"an answer at {self.url}", self._answers)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended:\n{self.log.read_text()[-4000:]}"
        try:
            httpx.get(f"{self.url}/healthz", trust_env=False)
        except httpx.TransportError:
            return False
        return True

    def stop(self) -> None:
        """Ask it to stop and wait; it has to end by itself."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it with no chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def command(self, *arguments: str, expect: int | set[int] = 0) -> dict[str, Any]:
        """The JSON answer of a command of ours on the data folder; checks the exit code."""
        options = ["--data", str(self.data), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "connected_registry", *arguments, *options],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        expected = {expect} if isinstance(expect, int) else expect
        assert done.returncode in expected, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def sync(self, *, expect: int | set[int] = 0) -> dict[str, Any]:
        """Run a sync to its end and return its result."""
        task = self.command("sync", expect=expect)
        result: dict[str, Any] = task.get("result") or {}
        return result

    def status(self) -> dict[str, Any]:
        """Everything the replica reports; the exit code says whether the site is complete."""
        return self.command("status", expect=YES_OR_NO)

    def wait_for_status(
        self, what: str, condition: Callable[[dict[str, Any]], Any], seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """The first status that fulfils ``condition``."""

        def asked() -> dict[str, Any] | None:
            status = self.status()
            return status if condition(status) else None

        found: dict[str, Any] = wait_until(what, asked, seconds)
        return found

    def tags(self, repository: str) -> list[str]:
        """The tags it lists; none where it does not know the repository."""
        answer = httpx.get(f"{self.url}/v2/{repository}/tags/list", trust_env=False)
        if answer.status_code == 404:
            return []
        tags: list[str] = answer.raise_for_status().json()["tags"]
        return tags

    def digest(self, repository: str, reference: str) -> str | None:
        """The digest it serves under a tag or digest; None where it has nothing."""
        return digest_at(self.url, repository, reference)


def digest_at(registry: str, repository: str, reference: str) -> str | None:
    """``Docker-Content-Digest`` of a manifest at any registry; None where it has nothing."""
    accept = ", ".join(
        [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        ]
    )
    answer = httpx.head(
        f"{registry}/v2/{repository}/manifests/{reference}",
        headers={"Accept": accept},
        trust_env=False,
    )
    if answer.status_code == 404:
        return None
    digest: str = answer.raise_for_status().headers["Docker-Content-Digest"]
    return digest
