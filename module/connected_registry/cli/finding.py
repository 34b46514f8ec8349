"""What `doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: what was looked at, how it is, and what to do where it is not well."""

    check: str
    state: State
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """For ``--json``."""
        document = {"check": self.check, "state": self.state.value, "text": self.text}
        return {**document, "remedy": self.remedy} if self.remedy else document


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, State.OK, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """It works, and may soon not."""
    return Finding(check, State.WARNING, text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, State.PROBLEM, text, remedy)


def skipped(check: str, text: str) -> Finding:
    """It could not be looked at, or there is nothing to look at."""
    return Finding(check, State.SKIPPED, text)
