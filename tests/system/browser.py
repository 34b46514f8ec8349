"""Debian's Chromium, driven through playwright-core of npm."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from peers.programs import require_program

TOP = Path(__file__).parents[2]
FOLDER = TOP / ".tools" / "browser"
PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
SHOTS = TOP / "build" / "screenshots"


def install() -> Path:
    """The folder with the packages, put there by npm at first use."""
    npm = require_program("npm")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        # Several test processes may come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all((FOLDER / "node_modules" / each.partition("@")[0]).exists() for each in PACKAGES):
            return FOLDER
        (FOLDER / "package.json").write_text('{"private": true}\n')
        options = ["--no-audit", "--no-fund", "--no-save", "--prefix", str(FOLDER)]
        done = subprocess.run(
            [npm, "install", *options, *PACKAGES], capture_output=True, text=True, check=False
        )
    if done.returncode != 0 and os.environ.get("CI", "").lower() != "true":
        pytest.skip(f"{' and '.join(PACKAGES)} cannot be installed: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return FOLDER


class Browser:
    """One browser with one page, for a ``with``; commands are those of browser.mjs."""

    def __init__(self) -> None:
        node, chromium = require_program("node"), require_program("chromium")
        script = Path(__file__).with_name("browser.mjs")
        self._process = subprocess.Popen(
            [node, str(script), str(install()), chromium],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __call__(self, command: str, **values: Any) -> Any:
        """The command's value; `AssertionError` with the browser's words where it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser is gone"
        answer = json.loads(line)
        assert "error" not in answer, f"{command} {values}: {answer['error']}"
        return answer["value"]

    def open(
        self, url: str, *, width: int = 1100, dark: bool = False, javascript: bool = True
    ) -> None:
        """A new page with no memory of those before."""
        self("open", url=url, width=width, dark=dark, javascript=javascript)

    def text(self, selector: str) -> str:
        """What a reader sees of the first such element."""
        found: str = self("text", selector=selector)
        return found

    def shoot(self, name: str) -> Path:
        """A picture of the whole page below ``build/``, for people."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        return Path(self("shoot", path=str(SHOTS / f"{name}.png")))
