"""The README says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connected_registry.cli.exits import Exit
from connected_registry.cli.main import app

TOP = Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")


def test_commands_are_those_of_the_command_line() -> None:
    """Each command is listed with what it is for, and no other."""
    listed = set(re.findall(r"^    connected-registry ([\w-]+)", README, re.M))
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    groups = {group.name for group in app.registered_groups}

    assert listed == commands | groups


def test_exit_codes_are_those_of_the_command_line() -> None:
    """Each exit code is in the table, except the shell's own for an interruption."""
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}

    assert listed == set(Exit) - {Exit.INTERRUPTED}


def test_scripts_that_are_named_exist() -> None:
    """Every ``scripts/NAME`` of the README can be executed."""
    named = set(re.findall(r"scripts/[a-z-]+", README))

    assert named
    assert [name for name in named if not (TOP / name).stat().st_mode & 0o100] == []


PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the repository has its file."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
