"""The Link header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.links import MAX_HEADER, format_next, parse_next

TARGETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='<>"'), min_size=1
)


@given(TARGETS)
def test_a_link_is_read_back_as_written(target: str) -> None:
    """Any encoded target survives."""
    assert parse_next([format_next(target)]) == target


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (['</v2/a/tags/list?n=2&last=b>; rel="next"'], "/v2/a/tags/list?n=2&last=b"),
        (
            ["<https://r.example/v2/_catalog?last=x>;rel=next"],
            "https://r.example/v2/_catalog?last=x",
        ),
        (['<a>; REL="prev NEXT"'], "a"),
        (['<a>; rel="prev", <b>; title="x, <c>; rel=next"; rel="next"'], "b"),
        (['<a>; rel="prev"', '<b>; rel="next"'], "b"),
        (['<a,b>; rel="next"'], "a,b"),
        (['<a>; rel="next", <b>; rel="next"'], "a"),
        (['<a>; rel="prev"'], None),
        (['<a>; relation="next"'], None),
        (["<a>"], None),
        (["<a; rel=next"], None),
        (['a; rel="next"'], None),
        ([""], None),
        ([], None),
        (["<" + "a" * MAX_HEADER + '>; rel="next"'], None),
    ],
)
def test_only_a_proper_next_link_counts(headers: list[str], target: str | None) -> None:
    """Several links and headers, quotes and cases are read; the rest is no next page."""
    assert parse_next(headers) == target


@given(st.text(max_size=60))
def test_no_header_breaks_the_parser(header: str) -> None:
    """Any text gives a target or nothing."""
    assert parse_next([header]) is None or "<" in header


@pytest.mark.parametrize("target", ["a b", "a>b", "é", "a\r\nb", 'a"b'])
def test_an_unencoded_target_is_never_written(target: str) -> None:
    """What would break the header cannot be written into one."""
    with pytest.raises(ValueError, match="not an encoded URL"):
        format_next(target)
