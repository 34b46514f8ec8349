"""Version numbers in tags, and ranges of them in npm's notation ("^1.2", ">=2 <4", "1.x || 3.x").

Tags are seldom strict semantic versions: a leading ``v``, missing parts (``1.36``) and leading
zeros (``2024.01``) are taken for what people mean by them. A suffix (``1.36-alpine``) makes a
pre-release, which a range takes only where it names a pre-release of the same three numbers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import nodesemver

MAX_RANGE: Final = 200
"""Longest range taken, in characters."""

_VERSION = re.compile(r"[vV]?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-_]([0-9A-Za-z._-]+))?", re.ASCII)
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Za-z-])0+(?=[0-9])")
_REMEDY = "must be a version range such as '^1.2', '>=2 <4' or '1.x || 3.x'"


def check_range(text: str) -> str:
    """``text`` if it is a range, else `ValueError`."""
    if not text.strip() or len(text) > MAX_RANGE or _range(text) is None:
        raise ValueError(_REMEDY)
    return text


def parse_version(tag: str) -> nodesemver.SemVer | None:
    """The version that ``tag`` means, None where it means none; they sort by `compare`."""
    found = _VERSION.fullmatch(tag)
    if found is None:
        return None
    release = ".".join(str(int(part or 0)) for part in found.group(1, 2, 3))
    # "_" is no separator to the library, and an empty identifier is an error to it
    words = [word for word in re.split(r"[._]", found[4] or "") if word]
    suffix = ".".join(_LEADING_ZEROS.sub("", word) for word in words)
    return nodesemver.make_semver(f"{release}-{suffix}" if suffix else release, False)


def in_range(tag: str, text: str) -> bool:
    """Whether ``tag`` is a version that the range ``text`` takes."""
    version = parse_version(tag)
    parsed = _range(text)
    return version is not None and parsed is not None and bool(parsed.test(version))


@lru_cache(maxsize=256)
def _range(text: str) -> nodesemver.Range | None:
    try:
        return nodesemver.make_range(_LEADING_ZEROS.sub("", text.strip()), False)
    except (ValueError, TypeError, AttributeError):
        # malformed comparators reach the library's own arithmetic and fail there in several ways
        return None
