"""The site's state in a line and on a screen."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from connected_registry.cli.watch import line, screen

IDLE: dict[str, Any] = {
    "inSync": "true",
    "inSyncAsOf": "2026-11-23T10:00:00+00:00",
    "connectionState": "Online",
    "sync": {"state": "Idle", "nextSyncTime": "2026-11-23T11:00:00+00:00"},
    "cache": {"tags": 3, "bytes": 5_000_000, "freeBytes": 9_000_000_000},
}
BUSY: dict[str, Any] = {
    **IDLE,
    "inSync": "false",
    "missing": {"images": 2, "bytes": 3_000_000},
    "sync": {
        "state": "Running",
        "progress": {
            "phase": "fetching",
            "imagesTotal": 2,
            "imagesDone": 1,
            "bytesTotal": 3_000_000,
            "bytesDone": 1_000_000,
        },
    },
    "statusDetails": [{"type": "Warning", "code": "X", "description": "the disk [red] is low"}],
}


def drawn(look: dict[str, Any] | None) -> str:
    """The screen as text."""
    console = Console(width=120, force_terminal=False, no_color=True)
    with console.capture() as captured:
        console.print(screen(look))
    return captured.get()


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (None, ["no replica runs"]),
        (IDLE, ["complete, confirmed by the parent", "Online", "3 tags, 5.0 MB", "9.0 GB"]),
        (BUSY, ["incomplete: 2 images", "images 1/2", "1.0 MB of 3.0 MB", "the disk [red] is low"]),
    ],
)
def test_screen(look: dict[str, Any] | None, words: list[str]) -> None:
    """What matters is there, and texts from elsewhere are no markup."""
    text = drawn(look)

    assert [word for word in words if word not in text] == []


def test_line() -> None:
    """The same in one line, for a pipe."""
    assert line(None) == "no replica runs on this data folder"
    assert line(BUSY).startswith("incomplete: 2 images, 3.0 MB missing; online; fetching, images")
    assert "\n" not in line(BUSY)
