"""What is done to a server while it is measured, and what came of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench_kit.content import MANIFEST, Blob, push_blob
from bench_kit.peers import Ours, Peer

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Figure:
    """One measurement: the rate (requests or MB a second), p99 in ms, seconds of CPU a unit."""

    rate: float
    p99: float | None = None
    cpu: float | None = None


def requests(peer: Peer, repository: str, path: str, *, connections: int, seconds: float) -> Figure:
    """wrk for some seconds. CPU is microseconds a request."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    for name, value in {"Accept": MANIFEST, **peer.headers(repository)}.items():
        command += ["-H", f"{name}: {value}"]
    before = peer.usage()
    shown = subprocess.run(
        [*command, f"http://{peer.address}{path}"], capture_output=True, text=True, check=True
    ).stdout
    after = peer.usage()
    if "Non-2xx" in shown:
        raise RuntimeError(f"{peer.name} refused requests to {path}:\n{shown}")
    count = int(re.findall(r"(\d+) requests in", shown)[0])
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", shown)[0])
    value, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s|m)", shown)[0]
    return Figure(rate, float(value) * UNITS[unit], (after.cpu - before.cpu) / count * 1e6)


def download(peer: Peer, repository: str, blob: Blob, *, clients: int) -> Figure:
    """curl by some clients at once. CPU is seconds a GB."""
    url = f"http://{peer.address}/v2/{repository}/blobs/{blob.digest}"
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", url]
    for name, value in peer.headers(repository).items():
        command += ["-H", f"{name}: {value}"]
    before = peer.usage()
    begun = time.monotonic()
    running = [subprocess.Popen(command) for _ in range(clients)]
    ended = [client.wait() for client in running]
    if any(ended):
        raise RuntimeError(f"{peer.name} did not serve {url}")
    seconds = time.monotonic() - begun
    moved = blob.size * clients
    return Figure(moved / seconds / 1e6, None, (peer.usage().cpu - before.cpu) / (moved / 1e9))


def push(peer: Peer, blob: Blob, number: int) -> Figure:
    """One blob to a repository of its own. CPU is seconds a GB."""
    repository = f"push/{number}"
    headers = peer.headers(repository)
    before = peer.usage()
    begun = time.monotonic()
    push_blob(peer.address, repository, blob.digest, blob.size, blob, headers)
    seconds = time.monotonic() - begun
    return Figure(
        blob.size / seconds / 1e6, None, (peer.usage().cpu - before.cpu) / (blob.size / 1e9)
    )


def sync_ours(folder: Path, parent: Peer, repositories: tuple[str, ...], size: int) -> Figure:
    """A first sync by ``connected-registry sync`` into an empty folder; rate in MB/s."""

    peer = Ours(folder)
    peer.repositories, peer.parent, peer.paused = repositories, parent.address, False
    *program, _ = peer.command()[:4]
    options = [f"--data={peer.folder / 'data'}", f"--twin={peer.folder / 'twin.json'}"]
    figure = _timed([*program, "sync", *options], size, peer.environment())
    shutil.rmtree(peer.folder)
    return figure


def sync_skopeo(folder: Path, parent: Peer, repositories: tuple[str, ...], size: int) -> Figure:
    """The same by ``skopeo sync`` into a folder."""
    target = folder / "skopeo"
    target.mkdir()
    listed = folder / "skopeo.yml"
    images = "".join(f"    {name}: ['v1']\n" for name in repositories)
    listed.write_text(f"{parent.address}:\n  tls-verify: false\n  images:\n{images}")
    figure = _timed(
        ["skopeo", "sync", "--src", "yaml", "--dest", "dir", str(listed), str(target)], size, None
    )
    shutil.rmtree(target)
    return figure


def _timed(command: list[str], size: int, environment: dict[str, str] | None) -> Figure:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{command[:4]} failed: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(size / seconds / 1e6, None, cpu / (size / 1e9))
