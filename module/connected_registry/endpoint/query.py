"""Query parameters. Those nobody asks for are ignored: mirrors add ``ns`` and others their own."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from connected_registry.endpoint.target import MAX_ADDRESS
from connected_registry.errors import AddressTooLong, PaginationNumberInvalid, RequestInvalid
from connected_registry.oci.links import format_next

MAX_FIELDS: Final = 1000

MAX_PAGE: Final = 10_000
"""Most entries of one page, and as many as a client gets that does not say."""


class Query:
    """The decoded parameters of one request."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    @classmethod
    def parse(cls, query_string: bytes) -> Query:
        """Raises `AddressTooLong`, and `RequestInvalid` for what is not UTF-8."""
        if len(query_string) > MAX_ADDRESS:
            raise AddressTooLong
        if not query_string:
            return _EMPTY
        try:
            fields = parse_qsl(
                query_string.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_FIELDS,
            )
        except ValueError:
            raise RequestInvalid("malformed query parameters") from None
        return cls(fields)

    def all(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return [value for key, value in self._fields if key == name]

    def one(self, name: str) -> str | None:
        """The value of a parameter that may be given once; `RequestInvalid` where it is twice."""
        values = self.all(name)
        if len(values) > 1:
            raise RequestInvalid(f"query parameter {name!r} is given more than once")
        return values[0] if values else None

    def limit(self) -> int:
        """The page size ``n``, at most `MAX_PAGE`. Raises `PaginationNumberInvalid`."""
        values = self.all("n")
        if not values:
            return MAX_PAGE
        text = values[0]
        if len(values) > 1 or not (text.isascii() and text.isdigit()) or len(text) > 100:
            raise PaginationNumberInvalid(detail={"n": text[:100]})
        return min(int(text), MAX_PAGE)

    def next_page(self, path: str, last: str, limit: int) -> str:
        """A Link header value to the page of ``path`` after ``last``, other parameters kept."""
        kept = [(key, value) for key, value in self._fields if key not in {"n", "last"}]
        return format_next(f"{path}?{urlencode([*kept, ('n', str(limit)), ('last', last)])}")


_EMPTY: Final = Query([])
