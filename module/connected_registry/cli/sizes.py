"""Sizes as people write them: ``700M``, ``4G``, ``512Ki``."""

from __future__ import annotations

import re
from typing import Final

from connected_registry.errors import ConfigurationError

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE: Final = re.compile(r"(\d{1,15})\s*([kmgt]?i?)b?", re.IGNORECASE | re.ASCII)


def parse_size(option: str, text: str) -> int:
    """Bytes; k, M, G, T count in thousands, Ki, Mi, Gi, Ti in 1024s."""
    match = _SIZE.fullmatch(text.strip())
    unit = (_UNITS | _BINARY).get(match[2].lower()) if match is not None else None
    if match is None or unit is None:
        raise ConfigurationError(option, text, "write a size such as 700M, 4G or 650Mi")
    return int(match[1]) * unit
