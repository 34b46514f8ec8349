"""Byte ranges of a blob: the Range header. RFC 9110, section 14."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from connected_registry.errors import RangeInvalid

MAX_RANGES: Final = 8
"""Most ranges answered as asked; more are answered with the whole."""

_MAX_HEADER = 256
_RANGE = re.compile(r"(\d{1,19})-(\d{0,19})|-(\d{1,19})", re.ASCII)


def parse_range(header: str | None, size: int) -> list[tuple[int, int]] | None:
    """First and last byte, both inclusive, of each range of ``size`` bytes; None for the whole.

    The whole is also the answer to headers that mean nothing, to other units, to ranges that
    overlap, go backwards or are too many, and to any range of nothing. Raises `RangeInvalid`,
    which carries Content-Range, where a single range or all of several lie outside, and where one
    ends before it starts.
    """
    if header is None or size == 0 or len(header) > _MAX_HEADER:
        return None
    unit, equals, listed = header.partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes":
        return None
    texts = [text.strip(" \t") for text in listed.split(",")]
    found = [_RANGE.fullmatch(text) for text in texts if text]
    if not found or len(found) > MAX_RANGES:
        return None
    ranges = []
    for match in found:
        if match is None:
            return None
        one = _clamp(match, size)
        if one is not None:
            ranges.append(one)
    if not ranges:
        raise _unsatisfiable(size)
    in_order = all(left[1] < right[0] for left, right in pairwise(ranges))
    return ranges if in_order else None


def _clamp(match: re.Match[str], size: int) -> tuple[int, int] | None:
    """The part of one range that exists; None where there is none."""
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return (size - length, size - 1) if length else None
    if last and int(last) < int(first):
        raise _unsatisfiable(size)
    if int(first) >= size:
        return None
    return int(first), min(int(last), size - 1) if last else size - 1


def _unsatisfiable(size: int) -> RangeInvalid:
    return RangeInvalid(
        f"the range lies outside the {size} bytes of this blob",
        headers={"Content-Range": f"bytes */{size}"},
    )
