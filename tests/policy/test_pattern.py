"""Patterns of repository names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.policy.pattern import RepositoryPattern

NAMES = st.from_regex(r"[a-c]{1,3}(/[a-c]{1,3}){0,3}", fullmatch=True)


@given(NAMES, NAMES)
def test_a_name_matches_itself_only(name: str, other: str) -> None:
    """A pattern without a star is one repository."""
    pattern = RepositoryPattern.parse(name)
    assert not pattern.is_pattern
    assert pattern.stem == name
    assert pattern.matches(other) is (name == other)


@given(NAMES, NAMES, st.sampled_from(["/", ""]))
def test_a_star_matches_what_starts_alike(name: str, other: str, slash: str) -> None:
    """A final star stands for anything; after a slash it is everything below."""
    pattern = RepositoryPattern.parse(f"{name}{slash}*")
    assert pattern.is_pattern
    assert pattern.matches(other) is other.startswith(name + slash)
    assert RepositoryPattern.parse("*").matches(other)


@given(st.lists(NAMES.flatmap(lambda name: st.sampled_from([name, name + "/*", "*"])), min_size=2))
def test_the_more_exact_pattern_comes_first(texts: list[str]) -> None:
    """Names precede patterns, and a longer stem precedes a shorter one."""
    patterns = sorted(map(RepositoryPattern.parse, texts), key=lambda p: p.precision, reverse=True)
    kinds = [pattern.is_pattern for pattern in patterns]
    assert kinds == sorted(kinds)
    stems = [len(pattern.stem) for pattern in patterns if pattern.is_pattern]
    assert stems == sorted(stems, reverse=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/*",
        "**",
        "a/**",
        "*/a",
        "a/*/b",
        "A/*",
        "a//*",
        "a b",
        "-*",
        "_*",
        "a/-*",
        "a\n",
        "a" * 256,
        "a" * 255 + "*",
    ],
)
def test_other_texts_are_no_pattern(text: str) -> None:
    """Stars elsewhere and names outside the grammar are refused with examples."""
    with pytest.raises(ValueError, match="must be a repository name such as 'team/app'"):
        RepositoryPattern.parse(text)


@pytest.mark.parametrize("text", ["a-*", "a_*", "a" * 254 + "*", "a" * 255])
def test_the_start_of_a_name_may_end_anywhere(text: str) -> None:
    """What can be continued to a name within the limit is a stem."""
    assert RepositoryPattern.parse(text) == text
