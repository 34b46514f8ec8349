"""Which way content flows: the twin's ``mode``."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """ReadOnly takes content from the parent only; ReadWrite also takes pushes on site."""

    READ_ONLY = "ReadOnly"
    READ_WRITE = "ReadWrite"

    @classmethod
    def _missing_(cls, value: Any) -> Mode | None:
        """The names of Microsoft's runtime before 0.5.0, and any case, as Azure's tools take."""
        names = {
            "readonly": cls.READ_ONLY,
            "mirror": cls.READ_ONLY,
            "readwrite": cls.READ_WRITE,
            "registry": cls.READ_WRITE,
        }
        return names.get(value.lower()) if isinstance(value, str) else None
