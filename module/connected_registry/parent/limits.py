"""How long we wait for the parent, how much we take from it, and how often we ask again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024
MAX_HOPS: Final = 3
"""Redirects followed for one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times are seconds, sizes are bytes. The defaults suit a slow, lossy site link."""

    connect: float = 10.0
    read: float = 30.0
    """Longest silence in the middle of an answer."""
    answer: float = 120.0
    """A whole exchange: token, redirects and, except for blobs, the body."""
    floor: float = 256.0
    """Bytes a second below which a body is given up ..."""
    floor_window: float = 60.0
    """... measured over this much time spent waiting for it."""
    connections: int = 32

    token_body: int = MIB
    error_body: int = MIB
    manifest_body: int = 4 * MIB
    page_body: int = 32 * MIB
    names: int = 1_000_000
    """Tags of one repository, or repositories of one parent."""
    pages: int = 20_000
    referrers: int = 10_000

    attempts: int = 5
    retry_first: float = 0.5
    retry_longest: float = 10.0
    retry_total: float = 180.0
    retry_after: float = 60.0
    """Longest wait taken on at the parent's word; asked for more, we stop and say so."""
