"""The Range header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.errors import RangeInvalid
from connected_registry.oci.ranges import MAX_RANGES, parse_range

SIZES = st.integers(1, 3000)
NUMBERS = st.integers(0, 4000)


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=500-1499", [(500, 1499)]),
        ("bytes=500-", [(500, 1999)]),
        ("bytes=-500", [(1500, 1999)]),
        ("bytes=-5000", [(0, 1999)]),
        ("bytes=1000-5000", [(1000, 1999)]),
        ("bytes=0-0", [(0, 0)]),
        ("bytes=1999-", [(1999, 1999)]),
        ("Bytes = 0-1", [(0, 1)]),
        ("bytes=0-1, 5-6,\t-1", [(0, 1), (5, 6), (1999, 1999)]),
        ("bytes=0-1,,5-6,", [(0, 1), (5, 6)]),
        ("bytes=0-1,9000-", [(0, 1)]),
        ("bytes=0-9999999999999999999", [(0, 1999)]),
    ],
)
def test_ranges_are_clamped_to_what_is_there(header: str, ranges: list[tuple[int, int]]) -> None:
    """First, last and suffix forms give inclusive positions within the blob."""
    assert parse_range(header, 2000) == ranges


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=a-b",
        "bytes=-",
        "bytes=1",
        "bytes=0-1-2",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=١-٢",
        "items=0-1",
        "bytes=0-1,x",
        "bytes=0-0,0-0",
        "bytes=5-6,0-1",
        "bytes=0-5,3-9",
        "bytes=" + ",".join(f"{n * 2}-{n * 2}" for n in range(MAX_RANGES + 1)),
        "bytes=" + "0-0," * 10_000,
        "bytes=" + "9" * 30 + "-",
    ],
)
def test_headers_that_mean_nothing_or_too_much_get_the_whole(header: str | None) -> None:
    """Malformed headers, other units and unreasonable sets are as good as none."""
    assert parse_range(header, 2000) is None


@pytest.mark.parametrize(
    "header",
    ["bytes=2000-", "bytes=5000-10000", "bytes=500-0", "bytes=9-1", "bytes=-0", "bytes=2000-,-0"],
)
def test_what_lies_outside_is_refused_with_the_size(header: str) -> None:
    """A range with nothing in it is refused, and the refusal tells how large the blob is."""
    with pytest.raises(RangeInvalid) as caught:
        parse_range(header, 2000)
    assert caught.value.headers == {"Content-Range": "bytes */2000"}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-"])
def test_an_empty_blob_is_always_whole(header: str) -> None:
    """No range of nothing exists, and clients that always ask for one are served."""
    assert parse_range(header, 0) is None


@given(SIZES, NUMBERS, st.none() | NUMBERS)
def test_one_range_selects_what_slicing_selects(size: int, first: int, last: int | None) -> None:
    """A range gives the bytes that the same slice of the content has, or is refused."""
    content = range(size)
    header = f"bytes={first}-{'' if last is None else last}"
    wanted = content[first : None if last is None else last + 1]
    if not wanted:
        with pytest.raises(RangeInvalid):
            parse_range(header, size)
    else:
        assert parse_range(header, size) == [(wanted[0], wanted[-1])]


@given(st.text(max_size=40), SIZES)
def test_no_header_breaks_the_parser(text: str, size: int) -> None:
    """Any header gives ordered ranges within the blob, the whole, or a refusal."""
    try:
        ranges = parse_range("bytes=" + text, size) or []
    except RangeInvalid:
        return
    edges = [edge for one in ranges for edge in one]
    assert all(0 <= edge < size for edge in edges)
    assert edges == sorted(edges)
