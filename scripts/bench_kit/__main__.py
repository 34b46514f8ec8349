"""Measures a replica beside Distribution, Debian's docker-registry and nginx, in turns."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench_kit import loads, report
from bench_kit.content import Blob, Image, push_image
from bench_kit.loads import Figure
from bench_kit.peers import Distribution, Nginx, Peer, available, find

REPOSITORY, TAG = "bench/app", "v1"
SMALL = (1_000, 10_000, 100_000)


@dataclass
class Table:
    """Figures by work and server, one a round."""

    figures: dict[str, dict[str, list[Figure]]] = field(default_factory=dict)

    def add(self, work: str, server: str, figure: Figure) -> None:
        """Note one, and say it."""
        self.figures.setdefault(work, {}).setdefault(server, []).append(figure)
        print(f"  {work:42} {server:7} {figure.rate:12,.1f}", flush=True)

    def median(self, work: str, server: str) -> Figure | None:
        """The median of each part of a figure; None where it was not measured."""
        found = self.figures.get(work, {}).get(server)
        if not found:
            return None
        p99 = [figure.p99 for figure in found if figure.p99 is not None]
        cpu = [figure.cpu for figure in found if figure.cpu is not None]
        return Figure(
            median(figure.rate for figure in found),
            median(p99) if p99 else None,
            median(cpu) if cpu else None,
        )


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures a replica that checks a client token on every request, beside "
        "Distribution v3 (GOBIN=.tools/bin go install "
        "github.com/distribution/distribution/v3/cmd/registry@latest), Debian's docker-registry "
        "and nginx, whichever of them are there: in turns, medians of rounds, ratios. Needs wrk, "
        "curl and skopeo.",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, help="of each wrk run (default: 4)")
    parser.add_argument("--large", type=int, default=1000, help="MB of the large blob (1000)")
    parser.add_argument(
        "--only",
        action="append",
        choices=["serve", "small", "large", "push", "sync", "start"],
        help="only this part; may be repeated",
    )
    parser.add_argument("--output", type=Path, help="where the document goes, as Markdown")
    parser.add_argument(
        "--smoke", action="store_true", help="everything once and small, in a minute"
    )
    chosen = parser.parse_args(arguments)
    if chosen.smoke:
        chosen.rounds, chosen.seconds, chosen.large = 1, 1, 20
    return chosen


def main() -> None:
    """Measure, print, and write the document."""
    chosen = options()
    missing = [name for name in ("wrk", "curl", "skopeo") if find(name) is None]
    if missing:
        sys.exit(f"scripts/bench needs {', '.join(missing)}: apt-get install {' '.join(missing)}")
    table = Table()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        parts: dict[str, Callable[[], None]] = {
            "start": lambda: measure_start(table, chosen, folder / "start"),
            "serve": lambda: measure_serving(table, chosen, folder / "serve"),
            "push": lambda: measure_pushing(table, chosen, folder / "push"),
            "sync": lambda: measure_syncing(table, chosen, folder / "sync"),
        }
        for part, measure in parts.items():
            asked = set(chosen.only or parts)
            if part in asked or (part == "serve" and asked & {"small", "large"}):
                print(part, flush=True)
                measure()
                shutil.rmtree(folder / part, ignore_errors=True)
            text = report.render(table, chosen, [kind.name for kind in available()])
            if chosen.output is not None:
                # After each part: whoever ends it early keeps what there is.
                chosen.output.write_text(text)
    print(text)


def measure_serving(table: Table, chosen: argparse.Namespace, folder: Path) -> None:
    """Manifests, small blobs and a large one, from every server that is there."""
    asked = set(chosen.only or ["serve", "small", "large"])
    image = Image.make("app", (*SMALL, chosen.large * 1_000_000))
    with ExitStack() as stack:
        peers = [stack.enter_context(kind(folder)) for kind in available()]
        for peer in peers:
            if isinstance(peer, Nginx):
                peer.fill(REPOSITORY, TAG, image)
            else:
                push_image(peer.address, REPOSITORY, TAG, image, peer.headers(REPOSITORY))
        manifests = f"/v2/{REPOSITORY}/manifests"
        runs: list[tuple[str, str, int]] = []
        if "serve" in asked:
            runs += [
                ("manifest by tag, GET, 64 connections", f"{manifests}/{TAG}", 64),
                (
                    "manifest by digest, GET, 64 connections",
                    f"{manifests}/{image.digest}",
                    64,
                ),
                ("manifest by tag, GET, 1 connection", f"{manifests}/{TAG}", 1),
            ]
        if "small" in asked:
            for blob in image.blobs[:-1]:
                path = f"/v2/{REPOSITORY}/blobs/{blob.digest}"
                runs.append((f"blob of {blob.size // 1000} kB, 16 connections", path, 16))
        for round_ in range(-1, chosen.rounds):
            for work, path, connections in runs:
                for peer in peers:
                    seconds = chosen.seconds if round_ >= 0 else 1
                    figure = loads.requests(
                        peer, REPOSITORY, path, connections=connections, seconds=seconds
                    )
                    if round_ >= 0:
                        table.add(work, peer.name, figure)
            for clients in (1, 8) if "large" in asked else ():
                for peer in peers:
                    figure = loads.download(peer, REPOSITORY, image.blobs[-1], clients=clients)
                    if round_ >= 0:
                        name = "client" if clients == 1 else "clients"
                        table.add(f"{chosen.large} MB blob, {clients} {name}", peer.name, figure)
        for peer in peers:
            usage = peer.usage()
            table.add("peak memory while serving, MB", peer.name, Figure(usage.peak / 1e6))


def measure_pushing(table: Table, chosen: argparse.Namespace, folder: Path) -> None:
    """One large blob to those that take one."""
    with ExitStack() as stack:
        kinds = [kind for kind in available() if kind is not Nginx]
        peers = [stack.enter_context(kind(folder)) for kind in kinds]
        for number in range(chosen.rounds):
            blob = Blob.make(f"push {number}", chosen.large * 1_000_000)
            for peer in peers:
                table.add(f"push of {chosen.large} MB", peer.name, loads.push(peer, blob, number))
                # What it wrote is not to cost the next one.
                shutil.rmtree(peer.folder / "waste", ignore_errors=True)


def measure_syncing(table: Table, chosen: argparse.Namespace, folder: Path) -> None:
    """A first sync of 20 images from Distribution v3, against ``skopeo sync``."""
    if Distribution not in available():
        return
    size = chosen.large * 1_000_000 // 20
    with Distribution(folder) as parent:
        names = tuple(f"site/app{number}" for number in range(20))
        for name in names:
            image = Image.make(name, (size // 2, size // 4, size // 4))
            push_image(parent.address, name, TAG, image, {})
        for _ in range(chosen.rounds):
            for server, sync in (("ours", loads.sync_ours), ("skopeo", loads.sync_skopeo)):
                scratch = folder / "scratch"
                scratch.mkdir()
                table.add(
                    "first sync of 20 images", server, sync(scratch, parent, names, size * 20)
                )
                shutil.rmtree(scratch)


def measure_start(table: Table, chosen: argparse.Namespace, folder: Path) -> None:
    """From the command to an answer, and what is resident after it."""
    image = Image.make("app", (1000,))
    for number in range(-1, chosen.rounds):
        for kind in available():
            with _stopped(kind, folder, image) as peer:
                usage = peer.usage()
                if number >= 0:
                    table.add("start, seconds", peer.name, Figure(peer.started_in))
                    table.add("at rest, MB", peer.name, Figure(usage.resident / 1e6))


def _stopped(kind: type[Peer], folder: Path, image: Image) -> Peer:
    """A server that has content and was stopped."""
    peer = kind(folder)
    if isinstance(peer, Nginx):
        peer.fill(REPOSITORY, TAG, image)
    elif not (peer.folder / "filled").exists():
        with peer:
            push_image(peer.address, REPOSITORY, TAG, image, peer.headers(REPOSITORY))
        (peer.folder / "filled").touch()
    return peer


if __name__ == "__main__":
    main()
