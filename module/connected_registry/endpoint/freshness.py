"""How old what a client pulls is: when the parent last said that the tag names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag

CONFIRMED: Final = "X-Connected-Registry-Confirmed-At"


@dataclass(frozen=True, slots=True)
class TagFreshness:
    """One tag that came from the parent, or should have come."""

    in_sync: bool
    """Whether the parent's tag named the same when it was last asked."""
    confirmed_at: datetime | None
    """When it last did; None where it has not since this replica remembers."""


class Freshness(Protocol):
    """Knows the parent's tags; nothing of those that were only ever pushed here."""

    def recall(self, repository: RepositoryName, tag: Tag) -> tuple[TagFreshness | None] | None:
        """What `of` would answer, if that is in memory; else None."""

    async def of(self, repository: RepositoryName, tag: Tag) -> TagFreshness | None:
        """One tag; from memory nearly always."""

    def listing(self, repository: RepositoryName) -> Mapping[str, TagFreshness]:
        """All tags of a repository. Reads the database: call it in a thread."""


async def freshness_headers(
    source: Freshness | None,
    repository: RepositoryName,
    reference: Tag | Digest,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, str]:
    """``Age`` in seconds (RFC 9111, section 5.1) and the moment it is counted from.

    Nothing for a digest, whose content cannot grow old.
    """
    if source is None or isinstance(reference, Digest):
        return {}
    return _headers(await source.of(repository, reference), clock)


def recall_freshness_headers(
    source: Freshness | None,
    repository: RepositoryName,
    reference: Tag | Digest,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, str] | None:
    """The same, if that is in memory; else None."""
    if source is None or isinstance(reference, Digest):
        return {}
    known = source.recall(repository, reference)
    return None if known is None else _headers(known[0], clock)


def _headers(known: TagFreshness | None, clock: Callable[[], datetime]) -> dict[str, str]:
    if known is None or known.confirmed_at is None:
        return {}
    age = max(int((clock() - known.confirmed_at).total_seconds()), 0)
    return {
        "Age": str(age),
        CONFIRMED: f"{known.confirmed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
