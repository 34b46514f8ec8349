"""The scripts: set-up, help, and the sample parent's images."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sample.catalogue import is_static, samples
from sample.image import Content, Image
from sample.program import MACHINES, greeting
from service import ServiceError, check_free, free_listener

TOP = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path for path in (TOP / "scripts").iterdir() if path.is_file() and not path.suffix)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_has_help(script: Path) -> None:
    """Every script can be executed and explains itself."""
    answer = subprocess.run(
        [script, "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )

    assert answer.returncode == 0, answer.stderr
    assert "usage: " in answer.stdout.lower()


def checkout(folder: Path, lock: str = "") -> Path:
    """A copy of the set-up script with a lock of its own."""
    (folder / "scripts").mkdir()
    (folder / "requirements").mkdir()
    shutil.copy(TOP / "scripts/install", folder / "scripts/install")
    (folder / "requirements/module.txt").write_text(lock)
    (folder / "requirements/dev.txt").write_text(lock)
    return folder


def install(top: Path, path: Path | str, kind: str = "dev") -> subprocess.CompletedProcess[str]:
    """Run the set-up with only the programs found on ``path``."""
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, top / "scripts/install", kind],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def programs(folder: Path, python: str | None = None) -> Path:
    """A folder of what the script calls, and ``python3`` as the given shell script."""
    folder.mkdir()
    for name in ("bash", "dirname", "cmp", "cp", "rm", "cat"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    if python is not None:
        (folder / "python3").write_text(f"#!/bin/sh\n{python}\n")
        (folder / "python3").chmod(0o755)
    return folder


@pytest.mark.parametrize("python", [None, "exit 1"], ids=["none", "too old or a dead shim"])
def test_install_asks_for_a_python(tmp_path: Path, python: str | None) -> None:
    """Without Python 3.11 one sentence says what to install, and nothing is left behind."""
    top = checkout(tmp_path)

    answer = install(top, programs(tmp_path / "bin", python))

    assert answer.returncode != 0
    assert answer.stderr.startswith("Python 3.11 or newer is needed")
    assert len(answer.stderr.splitlines()) == 1
    assert not (top / ".venv").exists()


def test_install_asks_for_the_venv_module(tmp_path: Path) -> None:
    """A Python that cannot make environments, as Debian's without python3-venv, is told so."""
    top = checkout(tmp_path)
    only_venv_fails = 'case "$*" in *venv*) echo "ensurepip is not available"; exit 1 ;; esac'

    answer = install(top, programs(tmp_path / "bin", only_venv_fails))

    assert answer.returncode == 1
    assert "apt-get install python3-venv" in answer.stderr
    assert not (top / ".venv").exists()


@pytest.mark.parametrize(
    ("installed", "wanted"), [("dev", "dev"), ("dev", "module"), ("module", "module")]
)
def test_install_does_nothing_when_up_to_date(tmp_path: Path, installed: str, wanted: str) -> None:
    """An environment that came from this lock is left alone; no Python is even looked for."""
    top = checkout(tmp_path, "httpx==1 --hash=sha256:00\n")
    (top / ".venv/bin").mkdir(parents=True)
    (top / ".venv/bin/python").symlink_to(sys.executable)
    shutil.copy(top / f"requirements/{installed}.txt", top / f".venv/installed-{installed}")

    answer = install(top, programs(tmp_path / "bin"), wanted)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_install_runs_again_for_a_new_lock(tmp_path: Path) -> None:
    """A lock that changed since is installed anew: here, tried and refused for its bad hash."""
    top = checkout(tmp_path, "httpx==0\n")
    (top / ".venv/bin").mkdir(parents=True)
    pip = 'case "$*" in *--version*) exit 0 ;; *) echo "pip was asked" >&2; exit 1 ;; esac'
    (top / ".venv/bin/python").write_text(f"#!/bin/sh\n{pip}\n")
    (top / ".venv/bin/python").chmod(0o755)
    (top / ".venv/installed-dev").write_text("httpx==-1\n")

    answer = install(top, programs(tmp_path / "bin"))

    assert answer.returncode == 1
    assert "pip was asked" in answer.stderr
    assert "could not be installed" in answer.stderr
    assert (top / ".venv/installed-dev").read_text() == "httpx==-1\n"


@pytest.mark.parametrize("lock", ["module", "dev"])
def test_lock_is_hashed_and_names_no_index(lock: str) -> None:
    """Each package is pinned with hashes; which index is asked is the machine's own matter."""
    text = (TOP / f"requirements/{lock}.txt").read_text()
    packages = text.replace("\\\n", "").splitlines()

    assert packages
    assert all("==" in package and "--hash=sha256:" in package for package in packages)
    assert "://" not in text


def test_development_lock_holds_the_modules() -> None:
    """Tests run against the versions that are shipped."""
    module, dev = (
        {
            line.split()[0]
            for line in (TOP / f"requirements/{name}.txt").read_text().splitlines()
            if not line.startswith(" ")
        }
        for name in ("module", "dev")
    )

    assert module <= dev


def test_ci_installs_without_asking() -> None:
    """CI's run parses, and says CI=true to the tests so that nothing is skipped."""
    script = TOP / ".ci/run"
    subprocess.run(["bash", "-n", script], check=True)

    assert os.access(script, os.X_OK)
    assert "export CI=true" in script.read_text()


def test_greeting_runs_here(tmp_path: Path) -> None:
    """The program made by hand prints its line and ends well."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if machine is None or sys.platform != "linux":
        pytest.skip("the program is made for Linux on amd64 and arm64")
    program = tmp_path / "hello"
    program.write_bytes(greeting(machine, "good morning"))
    program.chmod(0o755)

    assert subprocess.run([program], capture_output=True, check=True).stdout == b"good morning\n"


@pytest.mark.parametrize("architecture", MACHINES)
def test_greeting_is_a_static_program(tmp_path: Path, architecture: str) -> None:
    """It is an ELF file for its processor that needs no loader, wholly mapped."""
    content = greeting(architecture, "hi")
    program = tmp_path / "hello"
    program.write_bytes(content)

    assert struct.unpack_from("<H", content, 18)[0] == MACHINES[architecture]
    assert struct.unpack_from("<Q", content, 64 + 32)[0] == len(content)
    assert is_static(program)


def test_busybox_is_taken_only_when_static(tmp_path: Path) -> None:
    """What needs a loader, is no program or is not there makes no sample."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    interpreted = bytearray(greeting("amd64", "hi"))
    struct.pack_into("<I", interpreted, 64, 3)
    dynamic = tmp_path / "dynamic"
    dynamic.write_bytes(interpreted)

    for program in (script, dynamic, tmp_path / "missing", tmp_path):
        assert not is_static(program)
        assert {sample.repository for sample in samples(program)} == {"samples/hello"}


def test_samples_are_whole() -> None:
    """Every manifest names blobs and children that come with it, by right digests and sizes."""
    for sample in samples():
        held = {content.digest: content for content in everything(sample.image)}
        for content in (sample.image.root, *sample.image.children):
            document = json.loads(content.data)
            assert document["mediaType"] == content.media_type
            named = [*document.get("manifests", []), *document.get("layers", [])]
            named += [document["config"]] if "config" in document else []
            for descriptor in named:
                assert held[descriptor["digest"]].descriptor().items() <= descriptor.items()


def everything(image: Image) -> list[Content]:
    """All contents of an image."""
    return [image.root, *image.children, *image.blobs]


def test_samples_are_the_same_each_time() -> None:
    """A second start finds its images at the parent."""
    first, second = (
        hashlib.sha256("".join(s.image.root.digest for s in samples()).encode()).hexdigest()
        for _ in range(2)
    )

    assert first == second


def test_busy_address_is_told() -> None:
    """A port in use is named, with the option that chooses another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(ServiceError, match=f"cannot listen on {address}.*--listen"):
            check_free(address)


@pytest.mark.parametrize("address", ["8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_address_that_is_none_is_told(address: str) -> None:
    """Something that is not HOST:PORT is refused in a sentence."""
    with pytest.raises(ServiceError, match="--listen"):
        check_free(address)


def test_free_listener_prefers_its_port() -> None:
    """The usual port is taken when free, another one when not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        assert free_listener(taken) != f"127.0.0.1:{taken}"
    assert free_listener(taken) == f"127.0.0.1:{taken}"
