"""The Link header that leads through pages of a listing. RFC 8288."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAX_HEADER: Final = 16_384
"""Longest header read, in characters."""

_LINK = re.compile(r'[ \t,]*<([^>]*)>((?:[^",]|"(?:[^"\\]|\\.)*+")*+)(?=,|\Z)')
_REL = re.compile(r';[ \t]*rel[ \t]*=[ \t]*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)


def parse_next(headers: Iterable[str]) -> str | None:
    """The target of the first link whose ``rel`` has ``next``, as written; None without one.

    It may be relative or lead anywhere: whoever follows it must check where.
    """
    for header in headers:
        position = 0
        while len(header) <= MAX_HEADER and (link := _LINK.match(header, position)):
            relation = _REL.search(link[2])
            if relation and "next" in (relation[1] or relation[2] or "").lower().split():
                return link[1].strip()
            position = link.end()
    return None


def format_next(target: str) -> str:
    """A Link header value for the next page; ``target`` must be percent-encoded already."""
    if not target.isascii() or not target.isprintable() or any(c in target for c in '<>" '):
        raise ValueError(f"{target!r} is not an encoded URL")
    return f'<{target}>; rel="next"'
