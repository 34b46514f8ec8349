"""Real clients, each with its storage in a folder of the test."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from peers.programs import require_program
from system.replica import wait_until


class ClientError(AssertionError):
    """A client ended with an error; the text is what it said."""


def run(command: Sequence[str | Path], *, environment: dict[str, str] | None = None) -> str:
    """The output of a program; `ClientError` with its words when it ends with an error."""
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClientError(f"{command[0]} {command[1]}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


class ContainerTools:
    """skopeo, podman and buildah with settings and storage of their own, for a ``with``."""

    def __init__(self) -> None:
        # podman refuses paths over 50 characters for what it runs, so not in the test's folder.
        self._temporary = tempfile.TemporaryDirectory(prefix="ct-", ignore_cleanup_errors=True)
        self._folder = folder = Path(self._temporary.name)
        settings = folder / "containers.conf"
        # The limits of the machine may be lower than the ones podman would ask for.
        settings.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            '[engine]\nruntime = "runc"\n'
        )
        registries = folder / "registries.conf"
        registries.write_text('unqualified-search-registries = []\nshort-name-mode = "disabled"\n')
        policy = folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (folder / "auth.json").write_text("{}")
        self._environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            "CONTAINERS_CONF": str(settings),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
        }
        self._policy = ["--policy", str(policy)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._temporary.cleanup()

    def skopeo(self, *arguments: str) -> str:
        """Run skopeo; give TLS flags yourself, they differ by command."""
        program = require_program("skopeo")
        return run([program, *self._policy, *arguments], environment=self._environment)

    def podman(self, *arguments: str) -> str:
        """Run podman on this folder's storage."""
        return self._with_storage("podman", arguments)

    def buildah(self, *arguments: str) -> str:
        """Run buildah on the same storage: what it builds, podman has."""
        return self._with_storage("buildah", arguments)

    def logs(self, container: str) -> str:
        """What a container said on both of its outputs."""
        script = 'exec "$0" "$@" 2>&1'
        podman = [require_program("podman"), *self._storage(), "logs", container]
        return run(["sh", "-c", script, *podman], environment=self._environment)

    def _with_storage(self, program: str, arguments: tuple[str, ...]) -> str:
        command = [require_program(program), *self._storage(), *arguments]
        return run(command, environment=self._environment)

    def _storage(self) -> list[str]:
        # vfs needs no overlay file system, which a machine that is itself a container may lack.
        return [
            f"--root={self._folder / 'storage'}",
            f"--runroot={self._folder / 'run'}",
            "--storage-driver=vfs",
        ]

    def build_busybox(self, image: str, greeting: str) -> None:
        """Build ``image`` from Debian's static busybox and push it; it prints ``greeting``."""
        container = self.buildah("from", "scratch")
        self.buildah("copy", container, require_program("busybox"), "/bin/busybox")
        command = f'["/bin/busybox", "echo", "{greeting}"]'
        self.buildah("config", "--cmd", command, container)
        self.buildah("commit", "--quiet", "--rm", container, "localhost/built")
        self.buildah(
            "push", "--quiet", "--tls-verify=false", "localhost/built", f"docker://{image}"
        )
        self.buildah("rmi", "localhost/built")


class Containerd:
    """containerd with folders and a socket of its own; used as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._socket = folder / "containerd.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = require_program("containerd")
        for needed in ("ctr", "runc"):
            require_program(needed)
        config = self._folder / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self._folder}/root"\nstate = "{self._folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self._socket}"\n'
        )
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen([program, "-c", config], stdout=log, stderr=log)
        wait_until("containerd", self._answers)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            self.ctr("version")
        except ClientError:
            return False
        return True

    def ctr(self, *arguments: str) -> str:
        """Run ctr against this daemon."""
        program = require_program("ctr")
        return run([program, "--address", str(self._socket), "--namespace", "test", *arguments])
