"""The parent's lists: tags, repositories, referrers. Each is complete, or raises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from connected_registry.errors import (
    DigestInvalid,
    ManifestInvalid,
    NameInvalid,
    ParentFailed,
    ParentNotFound,
    ParentUnauthorized,
    TagInvalid,
)
from connected_registry.oci.descriptor import Descriptor, parse_descriptor
from connected_registry.oci.digest import Digest
from connected_registry.oci.media_type import OCI_INDEX
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.answer import Answer
from connected_registry.parent.auth import Access
from connected_registry.parent.pages import Page, walk
from connected_registry.parent.session import ParentSession

ABSENT: Final = frozenset({404, 405})
"""Statuses of a registry that does not have an address at all."""
REFERRERS_ABSENT: Final = frozenset({404, 405, 501})
HUGE_PAGE: Final = 10_000
ASK_AGAIN: Final = 3600.0
"""Seconds after which a parent without referrers API is asked whether it has one now."""


@dataclass(frozen=True, slots=True)
class ListedTag:
    """A tag, and what it names where the listing says so."""

    name: Tag
    digest: Digest | None = None
    updated: datetime | None = None


@dataclass(frozen=True, slots=True)
class TagListing:
    """Every tag of a repository, each once, in the parent's order.

    ``skipped`` counts entries whose name cannot be a tag's.
    """

    tags: tuple[ListedTag, ...]
    skipped: int = 0


class Listings:
    """Lists of one parent. Remembers which ways of listing it has."""

    def __init__(
        self, session: ParentSession, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._clock = clock
        self._has_details: bool | None = None
        self._no_referrers_until = 0.0

    async def tags(self, repository: RepositoryName) -> TagListing:
        """By Azure's listing, which tells digests and times, else by the plain one.

        Only a 404 or 405 where the plain listing then works shows that the parent does not have
        the first. A refusal shows nothing: the plain listing is asked too, and nothing remembered.
        """
        if self._has_details is not False:
            try:
                detailed = await self._detailed_tags(repository)
            except ParentUnauthorized:
                return await self._plain_tags(repository)
            if detailed is not None:
                self._has_details = True
                return detailed
        listing = await self._plain_tags(repository)
        self._has_details = False
        return listing

    async def _detailed_tags(self, repository: RepositoryName) -> TagListing | None:
        """None where the parent does not seem to have this listing."""
        path = f"acr/v1/{repository}/_tags"
        known = self._has_details is True
        passing = frozenset() if known else ABSENT
        collected = _Tags(self._session.limits.names)
        access = Access("details", repository)
        async for page in walk(self._session, path, access, "tags", passing=passing):
            if not known and (page.answer.status in ABSENT or page.items is None):
                return None
            await collected.add(page, _detailed_tag)
        return collected.listing()

    async def _plain_tags(self, repository: RepositoryName) -> TagListing:
        collected = _Tags(self._session.limits.names)
        path, access = f"v2/{repository}/tags/list", Access("pull", repository)
        async for page in walk(self._session, path, access, "tags"):
            await collected.add(page, _plain_tag)
        return collected.listing()

    async def repositories(self) -> list[RepositoryName]:
        """Every repository that the parent lists to us, names that are none left out."""
        found: dict[RepositoryName, None] = {}
        pages = walk(self._session, "v2/_catalog", Access("catalog"), "repositories")
        async for page in pages:
            before = len(found)
            for item in page.required():
                try:
                    found[RepositoryName.parse(item if isinstance(item, str) else "")] = None
                except NameInvalid:
                    continue
            _check_count(len(found), self._session.limits.names, page.answer)
            page.learned_something = len(found) > before
        return list(found)

    async def referrers(
        self, repository: RepositoryName, digest: Digest
    ) -> list[Descriptor] | None:
        """What refers to ``digest``; None where the parent has no referrers API."""
        if self._clock() < self._no_referrers_until:
            return None
        found: dict[Digest, Descriptor] = {}
        pages = walk(
            self._session,
            f"v2/{repository}/referrers/{digest}",
            Access("pull", repository),
            "manifests",
            accept=OCI_INDEX,
            passing=REFERRERS_ABSENT,
            sized=False,
        )
        async for page in pages:
            if page.answer.status in ABSENT and page.answer.code == "NAME_UNKNOWN":
                raise ParentNotFound(f"{page.answer.asked}: there is no such repository")
            if page.answer.status != 200 or page.items is None:
                self._no_referrers_until = self._clock() + ASK_AGAIN
                return None
            before = len(found)
            for item in page.items:
                try:
                    descriptor = parse_descriptor(item, "manifests[]")
                except ManifestInvalid as error:
                    raise ParentFailed(f"the answer to {page.answer.asked}: {error}") from error
                found[descriptor.digest] = descriptor
            _check_count(len(found), self._session.limits.referrers, page.answer)
            page.learned_something = len(found) > before
        return list(found.values())


class _Tags:
    """Tags collected over pages, each once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[Tag, ListedTag] = {}
        self._skipped = 0

    async def add(self, page: Page, parse: Callable[[Any], ListedTag]) -> None:
        """Take in a page; a huge one in a thread, for others are to be served meanwhile."""
        if len(page.required()) > HUGE_PAGE:
            await asyncio.to_thread(self._add, page, parse)
        else:
            self._add(page, parse)

    def _add(self, page: Page, parse: Callable[[Any], ListedTag]) -> None:
        before = len(self._found)
        for item in page.required():
            try:
                tag = parse(item)
            except TagInvalid:
                self._skipped += 1
                continue
            self._found.setdefault(tag.name, tag)
        _check_count(len(self._found) + self._skipped, self._limit, page.answer)
        page.learned_something = len(self._found) > before

    def listing(self) -> TagListing:
        return TagListing(tuple(self._found.values()), self._skipped)


def _check_count(count: int, limit: int, answer: Answer) -> None:
    if count > limit:
        raise ParentFailed(f"{answer.asked}: the listing has more than {limit} entries")


def _plain_tag(item: Any) -> ListedTag:
    return ListedTag(Tag.parse(item if isinstance(item, str) else ""))


def _detailed_tag(item: Any) -> ListedTag:
    if not isinstance(item, dict):
        raise TagInvalid
    tag = _plain_tag(item.get("name"))
    try:
        digest = Digest.parse(str(item.get("digest", "")))
    except DigestInvalid:
        digest = None
    return ListedTag(tag.name, digest, _moment(item.get("lastUpdateTime")))


def _moment(text: Any) -> datetime | None:
    """A time as Azure writes it, with up to seven digits of a second."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
