"""Versions in tags and ranges of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.policy.version import check_range, in_range, parse_version

PARTS = st.integers(0, 300)


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("1.2.3", "1.2.3"),
        ("v1.2.3", "1.2.3"),
        ("1.36", "1.36.0"),
        ("7", "7.0.0"),
        ("2024.01.05", "2024.1.5"),
        ("1.36-alpine", "1.36.0-alpine"),
        ("1.36-alpine3.19", "1.36.0-alpine3.19"),
        ("1.2.3_build.007", "1.2.3-build.7"),
        ("1.2.3-a..b", "1.2.3-a.b"),
        ("1.2.3-_", "1.2.3"),
        ("1.2.3-1-2", "1.2.3-1-2"),
    ],
)
def test_tags_are_read_as_people_mean_them(tag: str, version: str) -> None:
    """A leading v, missing parts and leading zeros make no difference."""
    assert str(parse_version(tag)) == version


@pytest.mark.parametrize(
    "tag", ["", "latest", "v", "vv1", "1.x", "alpine-1.2", "1..2", "1.2.3.4", "sha256-0"]
)
def test_other_tags_are_no_version(tag: str) -> None:
    """Words that are no number are no version, and in no range."""
    assert parse_version(tag) is None
    assert not in_range(tag, "*")


@given(PARTS, PARTS, PARTS, PARTS)
def test_a_caret_stays_within_the_major_version(a: int, b: int, c: int, d: int) -> None:
    """The usual range takes what is not older and does not break."""
    major = a + 1
    assert in_range(f"{major}.{b}.{c}", f"^{major}.{d}") is (b >= d)
    assert not in_range(f"{major + 1}.{b}.{c}", f"^{major}.{d}")


@pytest.mark.parametrize(
    ("tag", "text", "taken"),
    [
        ("1.36", "1.x", True),
        ("v2.1", ">=2 <4", True),
        ("3.9", "1.x || 3.x", True),
        ("2.9", "1.x || 3.x", False),
        ("2024.02", ">=2024.01", True),
        ("1.5", "1.2 - 2.3", True),
        ("1.36-alpine", "1.x", False),
        ("1.36.0-rc2", ">=1.36.0-rc1", True),
    ],
)
def test_ranges_in_npm_s_notation(tag: str, text: str, taken: bool) -> None:
    """The forms people use are understood; a pre-release needs to be asked for."""
    assert check_range(text) == text
    assert in_range(tag, text) is taken


@pytest.mark.parametrize(
    "text",
    ["", " ", "banana", ">=1.0 banana", "^", "1.2.3.4.5", ">>1", "1" * 201, "9" * 5000, "=> 1"],
)
def test_other_texts_are_no_range(text: str) -> None:
    """What is no range is refused with examples, never taken for everything or nothing."""
    with pytest.raises(ValueError, match="must be a version range such as"):
        check_range(text)
    assert not in_range("1.2.3", text) or not text.strip()


@given(st.text(st.sampled_from("0123456789.*xX^~<>=|- v+abé"), max_size=40), st.text(max_size=20))
def test_no_text_breaks_the_parsers(text: str, tag: str) -> None:
    """Any range is valid or refused, and any tag is in it or not."""
    try:
        check_range(text)
    except ValueError:
        return
    assert in_range(tag, text) in (True, False)
