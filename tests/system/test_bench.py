"""The bench runs: every part of it once, small, and without looking at the figures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from peers.programs import require_program

TOP = Path(__file__).parents[2]

pytestmark = pytest.mark.system


def test_a_small_bench_ends_with_a_table(tmp_path: Path) -> None:
    """Whichever other registries are here, ours is measured in each kind of work."""
    for name in ("wrk", "curl", "skopeo"):
        require_program(name)
    document = tmp_path / "bench.md"
    subprocess.run(
        [TOP / "scripts/bench", "--smoke", "--output", document], check=True, capture_output=True
    )
    text = document.read_text()

    for work in ("manifest by tag", "blob of 1 kB", "MB blob, 8 clients", "push of", "at rest"):
        assert work in text


def test_help_needs_nothing_installed() -> None:
    """It says what is measured and what that needs."""
    said = subprocess.run(
        [TOP / "scripts/bench", "--help"], check=True, capture_output=True, text=True
    ).stdout

    assert "wrk" in said
    assert "--smoke" in said
