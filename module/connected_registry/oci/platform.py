"""Platforms: what an entry of an image index runs on, and what someone wants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_REMEDY = "must be a platform such as 'linux/amd64' or 'linux/arm/v7'"

_ALIASES: Final = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "i386": ("386", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_DEFAULT_VARIANT: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]`` in Go's names. Versions of the operating system are ignored."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `ValueError` unless ``text`` has the form; other names of an architecture pass."""
        parts = text.lower().split("/")
        if not 2 <= len(parts) <= 3 or not all(_WORD.fullmatch(part) for part in parts):
            raise ValueError(_REMEDY)
        architecture, variant = _ALIASES.get(parts[1], (parts[1], None))
        return cls(parts[0], architecture, parts[2] if len(parts) == 3 else variant)

    def __str__(self) -> str:
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part is not None)

    def matches(self, wanted: Platform) -> bool:
        """Whether an image for this platform is what someone who wants ``wanted`` needs.

        No variant means the usual one: v8 of arm64, v1 of amd64, v7 of an image for arm. Only
        ``linux/arm`` as a wish is open, machines of that name being of several kinds.
        """
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        usual = _DEFAULT_VARIANT.get(self.architecture)
        if wanted.variant is None and (usual is None or self.architecture == "arm"):
            return True
        return (self.variant or usual) == (wanted.variant or usual)
