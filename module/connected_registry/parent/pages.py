"""Walking the pages of a listing at the parent.

A page may come from anyone who can speak for the parent, so the way to the next one stays on the
parent's origin and on the same path, never turns back, and ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from connected_registry.errors import ParentFailed
from connected_registry.oci.links import parse_next
from connected_registry.parent.answer import Answer
from connected_registry.parent.auth import Access
from connected_registry.parent.session import Ask, ParentSession

PAGE: Final = 1000
"""Names asked for at once."""


@dataclass(slots=True)
class Page:
    """One page; ``items`` is None where the answer does not hold such a list.

    Whoever reads it sets ``learned_something`` to whether it held anything new.
    """

    answer: Answer
    items: list[Any] | None
    learned_something: bool = True

    @classmethod
    async def parse(cls, answer: Answer, key: str) -> Self:
        """The list under ``key``; null, as some registries write an empty list, is empty."""
        try:
            document = await answer.json()
        except ParentFailed:
            return cls(answer, None)
        items = document.get(key, False) if isinstance(document, dict) else False
        if items is None:
            return cls(answer, [])
        return cls(answer, items if isinstance(items, list) else None)

    def required(self) -> list[Any]:
        """The items; raise `ParentFailed` where there is no list."""
        if self.items is None:
            raise ParentFailed(f"the answer to {self.answer.asked} is not the listing asked for")
        return self.items


async def walk(
    session: ParentSession,
    path: str,
    access: Access,
    key: str,
    *,
    accept: str = "application/json",
    passing: Collection[int] = (),
    sized: bool = True,
) -> AsyncIterator[Page]:
    """Each page of the listing at ``path``; ``sized`` says whether it takes ``n`` and ``last``.

    Raises `ParentFailed` for a way that leads astray, back, or on for ever.
    """
    query = f"n={PAGE}" if sized else ""
    seen = {query}
    for _ in range(session.limits.pages):
        ask = Ask(
            "GET",
            f"{path}?{query}" if query else path,
            access,
            headers={"Accept": accept},
            body_limit=session.limits.page_body,
        )
        page = await Page.parse(await session.read(ask, passing=passing), key)
        yield page
        following = _linked(session, page.answer, path)
        if following is None and sized:
            following = _unlinked(page)
        if following is None:
            return
        query = following
        if query in seen:
            raise ParentFailed(f"{page.answer.asked}: the listing leads back to itself")
        seen.add(query)
    raise ParentFailed(f"the listing {path} has more than {session.limits.pages} pages")


def _linked(session: ParentSession, answer: Answer, path: str) -> str | None:
    """The query of the page that the answer links to; None where it links to none."""
    link = parse_next(answer.headers.get_list("link"))
    if link is None:
        return None
    try:
        target = answer.url.join(link)
    except (httpx.InvalidURL, ValueError) as error:
        raise ParentFailed(f"{answer.asked}: the link to the next page is broken") from error
    if (
        not session.address.is_own(target)
        or target.userinfo
        or target.path != session.address.url.join(path).path
    ):
        raise ParentFailed(f"{answer.asked}: the link to the next page leads elsewhere")
    return target.query.decode("ascii", "replace")


def _unlinked(page: Page) -> str | None:
    """A full page without a link is usually the last, but some registries leave the link out.

    Such a one is asked once more, behind its last name.
    """
    items = page.items
    if items is None or len(items) != PAGE or not page.learned_something:
        return None
    last = items[-1].get("name") if isinstance(items[-1], dict) else items[-1]
    return f"n={PAGE}&last={quote(last, safe='')}" if isinstance(last, str) else None
