"""The servers that are measured, each a process of its own on a port of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench_kit.content import MANIFEST, Image

TICKS = os.sysconf("SC_CLK_TCK")
TOP = Path(__file__).resolve().parents[2]
USER, PASSWORD = "bench", "a password of the bench"


def find(name: str) -> str | None:
    """A program of the system or of .tools."""
    return shutil.which(name, path=f"{TOP}/.tools/bin:{os.environ['PATH']}:/usr/sbin")


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Usage:
    """What a process took so far: seconds of CPU, and memory in bytes now and at most."""

    cpu: float
    resident: int
    peak: int


class Peer:
    """A server in ``folder``; as a context it runs."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.started_in = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def headers(self, repository: str) -> dict[str, str]:
        """What a client sends to be let in."""
        return {}

    def command(self) -> list[str]:
        """What runs it, once it is configured."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Its environment."""
        return dict(os.environ)

    def version(self) -> str:
        """What it says of itself."""
        return ""

    def __enter__(self) -> Self:
        command = self.command()
        with (self.folder / "log").open("ab") as log:
            begun = time.monotonic()
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment()
            )
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > begun + 60:
                raise RuntimeError(f"{self.name} did not start; see {self.folder}/log")
            time.sleep(0.005)
        self.started_in = time.monotonic() - begun
        return self

    def __exit__(self, *exc: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def usage(self) -> Usage:
        """Of it and its children, now."""
        assert self._process is not None
        cpu = resident = peak = 0
        for pid in [self._process.pid, *_children(self._process.pid)]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            cpu += int(fields[11]) + int(fields[12])
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                key, _, value = line.partition(":")
                if key == "VmRSS":
                    resident += int(value.split()[0]) * 1024
                elif key == "VmHWM":
                    peak += int(value.split()[0]) * 1024
        return Usage(cpu / TICKS, resident, peak)


class Ours(Peer):
    """A replica that checks a client token on every request."""

    name = "ours"
    parent = ""
    repositories: tuple[str, ...] = ()
    paused = True

    def command(self) -> list[str]:
        """``connected-registry serve``."""
        (self.folder / "twin.json").write_text(json.dumps(self._twin()))
        options = [f"--data={self.folder / 'data'}", f"--listen={self.address}"]
        options.append(f"--twin={self.folder / 'twin.json'}")
        return [sys.executable, "-m", "connected_registry", "serve", *options]

    def _twin(self) -> dict[str, Any]:
        from connected_registry.policy.password import hash_password

        actions = ["content/read", "content/write", "metadata/read"]
        return {
            "schemaVersion": "1.0",
            "mode": "ReadWrite",
            "scope": {"repositories": [{"name": name} for name in self.repositories]},
            "sync": {"paused": self.paused},
            "scopeMaps": [
                {"name": "all", "actions": [f"repositories/*/{action}" for action in actions]}
            ],
            "clientTokens": [
                {
                    "name": USER,
                    "scopeMap": "all",
                    "passwords": [{"hash": hash_password(PASSWORD)}],
                }
            ],
        }

    def environment(self) -> dict[str, str]:
        """With the parent, where there is one."""
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ACR_", "CONNECTED_REGISTRY_", "IOTEDGE_", "EdgeHub"))
        }
        if not self.parent:
            return inherited
        return inherited | {
            "CONNECTED_REGISTRY_PARENT": self.parent,
            "CONNECTED_REGISTRY_PARENT_PROTOCOL": "http",
        }

    def headers(self, repository: str) -> dict[str, str]:
        """A bearer token, as clients get one."""
        scope = f"repository:{repository}:pull,push"
        query = f"http://{self.address}/acr/oauth2/token?service={self.address}&scope={scope}"
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(query, headers={"Authorization": f"Basic {secret}"})
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - ours
            return {"Authorization": f"Bearer {json.load(answer)['access_token']}"}

    def version(self) -> str:
        """This checkout."""
        shown = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=TOP,
            capture_output=True,
            text=True,
            check=False,
        )
        return f"this tree, {shown.stdout.strip() or 'no commit'}, Python {sys.version.split()[0]}"


class Distribution(Peer):
    """Distribution v3, with its in-memory cache and without a log of requests."""

    name = "dist3"
    program = "registry"

    def command(self) -> list[str]:
        """``registry serve``."""
        config = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": self.address, "secret": "of the bench"},
        }
        (self.folder / "config.yml").write_text(json.dumps(config))
        return [find(self.program) or "", "serve", str(self.folder / "config.yml")]

    def environment(self) -> dict[str, str]:
        """Without traces."""
        return {**os.environ, "OTEL_TRACES_EXPORTER": "none"}

    def version(self) -> str:
        """As it says itself."""
        shown = subprocess.run(
            [find(self.program) or "", "--version"], capture_output=True, text=True, check=False
        )
        return shown.stdout.strip().rpartition("/")[2].removeprefix("distribution ")


class DebianRegistry(Distribution):
    """Debian's docker-registry, which is Distribution 2.8."""

    name = "dist2"
    program = "docker-registry"


class Nginx(Peer):
    """Static files with sendfile: the physical limit. Serves only what `fill` wrote."""

    name = "nginx"

    def command(self) -> list[str]:
        """One worker, as ours is one process."""
        (self.folder / "root").mkdir(exist_ok=True)
        config = self.folder / "nginx.conf"
        # The worker of a master that is root would be somebody who may not look here.
        user = "user root; " if os.geteuid() == 0 else ""
        config.write_text(
            f"{user}daemon off; worker_processes 1; pid {self.folder}/pid;"
            f" error_log {self.folder}/error;"
            "events { worker_connections 2048; } http { access_log off; sendfile on;"
            f" tcp_nopush on; keepalive_requests 100000000; default_type {MANIFEST};"
            " open_file_cache max=1000;"
            f" client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b;"
            f" fastcgi_temp_path {self.folder}/c; uwsgi_temp_path {self.folder}/d;"
            f" scgi_temp_path {self.folder}/e;"
            f" server {{ listen {self.address}; root {self.folder}/root; }} }}"
        )
        return [find("nginx") or "", "-c", str(config), "-p", str(self.folder)]

    def fill(self, repository: str, tag: str, image: Image) -> None:
        """Write the files."""
        root = self.folder / "root/v2" / repository
        (root / "manifests").mkdir(parents=True, exist_ok=True)
        (root / "blobs").mkdir(exist_ok=True)
        for name in (tag, image.digest):
            (root / "manifests" / name).write_bytes(image.content)
        for blob in image.blobs:
            with (root / "blobs" / blob.digest).open("wb") as file:
                file.writelines(blob)

    def version(self) -> str:
        """As it says itself."""
        shown = subprocess.run(
            [find("nginx") or "", "-v"], capture_output=True, text=True, check=False
        )
        return shown.stderr.strip().rpartition("/")[2]


PEERS: tuple[type[Peer], ...] = (Ours, Distribution, DebianRegistry, Nginx)


def available() -> list[type[Peer]]:
    """Those whose program is here."""
    needs = {Distribution: "registry", DebianRegistry: "docker-registry", Nginx: "nginx"}
    return [peer for peer in PEERS if peer not in needs or find(needs[peer])]


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]
