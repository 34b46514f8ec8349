"""CNCF Distribution, as Debian's program ``docker-registry``, on a free loopback port.

::

    with Distribution(tmp_path) as registry:                       # takes everyone
    with Distribution(tmp_path, htpasswd={"ada": "lace"}) as registry:
    with TokenServer(tmp_path, users=...) as tokens, Distribution(tmp_path, tokens=tokens) as ...:
        registry.push(make_image(), "team/app", "latest")
        registry.address, registry.url

Stopped and started again it keeps its content and its port.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx

from peers import images
from peers.programs import require_program
from peers.token_server import ISSUER, SERVICE, TokenServer

PATIENCE = 30.0


class Distribution:
    """One registry with filesystem storage below ``folder``."""

    def __init__(
        self,
        folder: Path,
        *,
        htpasswd: dict[str, str] | None = None,
        tokens: TokenServer | None = None,
        certificate: tuple[Path, Path] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._program = require_program("docker-registry")
        self._htpasswd_program = require_program("htpasswd") if htpasswd else ""
        self.folder = folder
        self.host = host
        self.port = 0
        self.scheme = "https" if certificate else "http"
        self._htpasswd = htpasswd
        self._tokens = tokens
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """``scheme://host:port``."""
        return f"{self.scheme}://{self.address}"

    @property
    def log(self) -> str:
        """Everything it has written, request by request."""
        return (self.folder / "registry.log").read_text(errors="replace")

    def push(self, image: images.Image, repository: str, *tags: str) -> images.Image:
        """Push an image as the first user, or with a token that allows it."""
        auth = next(iter(self._htpasswd.items())) if self._htpasswd else None
        headers = None
        if self._tokens is not None:
            token = self._tokens.sign("tests", (f"repository:{repository}:pull,push",))
            headers = {"Authorization": f"Bearer {token}"}
        return images.push(
            image, self.url, repository, *tags, auth=auth, headers=headers, verify=False
        )

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest, and with it the tags that name it."""
        httpx.delete(
            f"{self.url}/v2/{repository}/manifests/{digest}", trust_env=False
        ).raise_for_status()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Run until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yml"
        config.write_text(json.dumps(self._configuration()))  # JSON is YAML
        log = self.folder / "registry.log"
        start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "serve", str(config)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"OTEL_TRACES_EXPORTER": "none"},
            )
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            found = re.search(r"listening on [^\s\"]*?:(\d+)", self.log[start:])
            if found:
                self.port = int(found[1])
                socket.create_connection((self.host, self.port), timeout=PATIENCE).close()
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"docker-registry did not start:\n{self.log[-2000:]}")

    def stop(self) -> None:
        """End it; its content stays."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _configuration(self) -> dict[str, Any]:
        http: dict[str, Any] = {
            "addr": f"{self.host}:{self.port}",
            "secret": "secret of the tests",
            "draintimeout": "0s",
        }
        if self._certificate:
            certificate, key = self._certificate
            http["tls"] = {"certificate": str(certificate), "key": str(key)}
        configuration: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "storage")},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": http,
        }
        if self._htpasswd:
            configuration["auth"] = {
                "htpasswd": {"realm": "tests", "path": str(self._write_htpasswd(self._htpasswd))}
            }
        elif self._tokens is not None:
            configuration["auth"] = {
                "token": {
                    "realm": self._tokens.realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(self._tokens.certificate_file),
                }
            }
        return configuration

    def _write_htpasswd(self, users: dict[str, str]) -> Path:
        path = self.folder / "htpasswd"
        path.write_text("")
        for name, password in users.items():
            subprocess.run(
                [self._htpasswd_program, "-B", "-C", "4", "-i", str(path), name],
                input=password.encode(),
                check=True,
                capture_output=True,
            )
        return path
