"""A replica in a process of its own, as ``scripts/run`` starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

OURS = ("ACR_", "CONNECTED_REGISTRY_", "IOTEDGE_", "EdgeHub")
"""What a variable of the environment begins with when it would configure a replica."""


class ServiceError(Exception):
    """Something asked for cannot be done; ``code`` is for the shell."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


class Service:
    """``connected-registry`` on a data folder; the log of ``serve`` is a file beside the folder.

    ``settings`` are variables of the environment; what else would configure a replica is left out.
    """

    def __init__(self, name: str, folder: Path, listen: str, settings: dict[str, str]) -> None:
        self.name = name
        self.listen = listen
        self.data = folder / name
        self.twin = folder / f"{name}.twin.json"
        self.reported = folder / f"{name}.reported.json"
        self.log = folder / f"{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        self._environment = inherited | settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process, to be stopped by hand."""
        return self._process.pid if self._process else 0

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{self.listen}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        check_free(self.listen)
        arguments = [f"--data={self.data}", f"--listen={self.listen}"]
        arguments += [f"--twin={self.twin}", f"--reported={self.reported}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "connected_registry", "serve", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to hand on, once
            )
        self._wait()

    def _wait(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.runs:
                raise ServiceError(f"the {self.name} did not start. It said:\n{self._last_lines()}")
            try:
                urllib.request.urlopen(f"{self.address}/healthz", timeout=2).close()  # noqa: S310
            except urllib.error.HTTPError:
                return  # it answers, well or not
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise ServiceError(
            f"the {self.name} does not answer at {self.address}; see {self.log}", code=5
        )

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to stop, and end it when it does not within ten seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def command(self, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run ``connected-registry`` with ``arguments`` on its data folder."""
        return subprocess.run(
            [sys.executable, "-m", "connected_registry", *arguments, f"--data={self.data}"],
            env=self._environment,
            stdout=subprocess.PIPE if capture else None,
            text=True,
            check=False,
        )

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-10:])


def check_free(listen: str) -> None:
    """Raise `ServiceError` when another program listens there."""
    host, colon, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not colon:
            raise ValueError(listen)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "write HOST:PORT"
        raise ServiceError(
            f"cannot listen on {listen} ({reason}): choose another with --listen 127.0.0.1:8081"
        ) from None


def free_listener(preferred: int) -> str:
    """A loopback address with a free port: the preferred one where it is."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{probe.getsockname()[1]}"
    raise ServiceError("no port of 127.0.0.1 is free")
