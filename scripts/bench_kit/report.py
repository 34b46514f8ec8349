"""The figures as a document: tables with ratios, machine, versions, targets."""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench_kit.peers import PEERS, Peer

if TYPE_CHECKING:
    from bench_kit.__main__ import Table


def render(table: Table, chosen: argparse.Namespace, servers: list[str]) -> str:
    """The whole document as Markdown."""
    columns = [
        *servers,
        *(["skopeo"] if any("skopeo" in row for row in table.figures.values()) else []),
    ]
    lines = [
        "## Figures",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_machine()}, load {os.getloadavg()[0]:.1f};",
        f"medians of {chosen.rounds} rounds in turns, warmed up, wrk {chosen.seconds:g} s each.",
        "",
    ]
    lines += [f"- {kind.name}: {_version(kind)}" for kind in PEERS if kind.name in servers]
    lines += [
        "",
        f"| work | {' | '.join(columns)} | ratio of ours |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for work in table.figures:
        cells = []
        rates = {}
        for server in columns:
            figure = table.median(work, server)
            if figure is None:
                cells.append("")
                continue
            rates[server] = figure.rate
            text = f"{figure.rate:,.2f}" if figure.rate < 10 else f"{figure.rate:,.0f}"
            if figure.p99 is not None:
                text += f"; p99 {figure.p99:.1f} ms"
            if figure.cpu is not None:
                text += f"; {figure.cpu:.3g} {'us' if figure.p99 is not None else 's/GB'}"
            cells.append(text)
        ratios = [
            f"{rates['ours'] / rate:.2f}x {server}"
            for server, rate in rates.items()
            if server != "ours" and "ours" in rates and rate
        ]
        lines.append(f"| {work} | {' | '.join(cells)} | {', '.join(ratios)} |")
    return "\n".join([*lines, ""])


def _version(kind: type[Peer]) -> str:
    with TemporaryDirectory() as folder:
        version: str = kind(Path(folder)).version()
    return version


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.machine()
    return f"{os.cpu_count()} cores of {processor}, {platform.system()} {platform.release()}"
