"""Examples below a command's ``--help``."""

from __future__ import annotations


def examples(*lines: str) -> str:
    r"""Lines as they are typed, without the program's name; ``\b`` keeps them from being filled."""
    return "\b\nExamples:\n" + "\n".join(f"  connected-registry {line}" for line in lines)
