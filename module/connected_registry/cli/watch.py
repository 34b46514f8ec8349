"""``connected-registry watch``: the site's state as it changes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connected_registry.cli.commands import describe_site
from connected_registry.cli.connection import connect_socket
from connected_registry.cli.exits import Exit
from connected_registry.cli.output import human_bytes, print_line
from connected_registry.cli.progress import describe
from connected_registry.cli.session import call, settings_from
from connected_registry.errors import ReplicaError

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY: Final = 1.0
"""Seconds between two looks."""

Look = dict[str, Any] | None
"""A ``getStatus`` answer; None while no replica runs."""


def watch(data: Path | None, *, once: bool) -> Exit:
    """Show until interrupted; with ``once``, exit code 1 unless the site is complete."""
    return asyncio.run(_watch(settings_from(data=data).data, once=once))


async def _watch(data: Path, *, once: bool) -> Exit:
    looks = _looks(data)
    if once:
        look = await anext(looks)
        print_line(line(look))
        return Exit.OK if look is not None and look.get("inSync") == "true" else Exit.NO
    if sys.stdout.isatty():
        from rich.live import Live

        with Live(screen=False, auto_refresh=False) as live:
            async for look in looks:
                live.update(screen(look), refresh=True)
        return Exit.OK
    last = ""
    async for look in looks:
        if (told := line(look)) != last:
            last = told
            print_line(f"{datetime.now().astimezone():%H:%M:%S} {told}")
    return Exit.OK


async def _looks(data: Path) -> AsyncIterator[Look]:
    while True:
        yield await _look(data)
        await asyncio.sleep(EVERY)


async def _look(data: Path) -> Look:
    async with connect_socket(data) as running:
        if running is None:
            return None
        try:
            return await call(running, "getStatus", {})
        except ReplicaError:
            return None


def line(look: Look) -> str:
    """All of it in a line."""
    if look is None:
        return "no replica runs on this data folder"
    run = look.get("sync") or {}
    parts = [describe_site(look), str(look.get("connectionState", "-")).lower()]
    progress = run.get("progress")
    parts.append(describe(progress) if progress else f"sync {run.get('state', '-')}")
    return "; ".join(parts)


def screen(look: Look) -> RenderableType:
    """All of it in a table, with a bar while a sync moves bytes."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if look is None:
        return Text("no replica runs on this data folder; waiting for one", style="yellow")
    run, cache = look.get("sync") or {}, look.get("cache") or {}
    style = {"true": "bold green", "false": "bold red"}.get(str(look.get("inSync")), "bold yellow")
    table = Table.grid(padding=(0, 2))
    table.add_row("site", Text(describe_site(look), style=style))
    table.add_row("connection", Text(str(look.get("connectionState", "-"))))
    table.add_row("sync", Text(str(run.get("state", "-"))))
    table.add_row("next sync", Text(str(run.get("nextSyncTime") or "not planned")))
    held = f"{cache.get('tags', 0)} tags, {human_bytes(cache.get('bytes') or 0)}"
    table.add_row("content", Text(held))
    table.add_row("disk free", Text(human_bytes(cache.get("freeBytes") or 0)))
    for detail in look.get("statusDetails") or []:
        table.add_row(Text(str(detail["type"]), style="yellow"), Text(str(detail["description"])))
    progress = run.get("progress")
    if not progress:
        return table
    bar = ProgressBar(
        total=progress.get("bytesTotal") or None, completed=progress.get("bytesDone") or 0, width=50
    )
    return Group(table, Text(describe(progress)), bar)
