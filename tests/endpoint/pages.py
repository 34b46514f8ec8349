"""Reads pages with the standard library's parser, as strictly as a test needs."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx

VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """The elements, forms and visible text of a page; raises on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self._pieces: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes what is open."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather text."""
        self._pieces.append(data)

    @property
    def text(self) -> str:
        """All text, its white space made single."""
        return " ".join(" ".join(self._pieces).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]

    def field(self, name: str) -> str:
        """The value of a form's field."""
        [value] = [each.get("value", "") for each in self.all("input") if each["name"] == name]
        return value

    @property
    def deeds(self) -> list[str]:
        """What the page offers to do."""
        links = [each.get("href", "") for each in self.all("a")]
        return [link.removeprefix("/_/do/") for link in links if link.startswith("/_/do/")]


def read(answer: httpx.Response) -> Page:
    """The page of an answer, with its headers checked."""
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    return Page(answer.text)
