"""Patches of twin documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge.patch import (
    MAX_DEPTH,
    MAX_INTEGER,
    check_limits,
    diff_reported,
    merge_patch,
    same,
    twin_size,
    without_nulls,
)
from connected_registry.errors import TwinInvalid

keys = st.text("abc", min_size=1, max_size=2)
scalars = st.booleans() | st.integers(0, 2) | st.floats(0, 2) | st.text("xy", max_size=2)
values = st.recursive(
    scalars | st.lists(scalars, max_size=3),
    lambda children: st.dictionaries(keys, children, max_size=3),
    max_leaves=12,
)
documents = st.dictionaries(keys, values, max_size=4)


@given(documents, documents)
def test_a_diff_applied_to_the_old_gives_the_new(old: Any, new: Any) -> None:
    """Whatever two documents: merging their diff into the first gives exactly the second."""
    assert same(merge_patch(old, diff_reported(old, new)), new)


@given(documents)
def test_nothing_changed_is_an_empty_patch(document: Any) -> None:
    """A document needs no patch to become itself."""
    assert diff_reported(document, document) == {}


@given(documents, documents)
def test_a_diff_is_minimal(old: Any, new: Any) -> None:
    """Each member of a patch is needed: leaving one out does not give the new document."""
    patch = diff_reported(old, new)
    for key in patch:
        less = {name: value for name, value in patch.items() if name != key}
        assert not same(merge_patch(old, less), new)


@given(documents, documents)
def test_merging_changes_neither_argument(document: Any, patch: Any) -> None:
    """Both sides of a merge can be used again."""
    before = repr(document), repr(patch)
    merge_patch(document, patch)
    assert (repr(document), repr(patch)) == before


def test_null_deletes_and_arrays_are_replaced_whole() -> None:
    """The hub's patch semantics."""
    document = {"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 5}
    patch = {"a": {"b": None}, "d": [3], "e": {"f": 1}, "missing": None}
    assert merge_patch(document, patch) == {"a": {"c": 2}, "d": [3], "e": {"f": 1}}


def test_what_vanished_becomes_null_in_the_diff() -> None:
    """Without the null the hub would keep what is gone."""
    old = {"progress": {"phase": "x", "current": "y"}, "gone": 1}
    new = {"progress": {"phase": "x"}}
    assert diff_reported(old, new) == {"progress": {"current": None}, "gone": None}


def test_true_is_not_one() -> None:
    """A flag that becomes a number is a change, though Python finds them equal."""
    assert diff_reported({"a": True}, {"a": 1}) == {"a": 1}
    assert diff_reported({"a": [1]}, {"a": [True]}) == {"a": [True]}


def test_nulls_are_left_out_at_every_depth() -> None:
    """Reported properties hold no null, also not inside arrays."""
    assert without_nulls({"a": None, "b": [{"c": None, "d": 1}, None]}) == {"b": [{"d": 1}]}


def test_size_is_counted_as_the_hub_does() -> None:
    """Keys and texts in UTF-8, eight bytes a number, four a boolean."""
    assert twin_size({"kéy": "ü", "n": 1, "b": True, "l": [{"x": 1.5}]}) == 4 + 2 + 9 + 5 + 1 + 9


def _nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {"v": 1}
    for _ in range(levels - 1):
        document = {"k": document}
    return document


@pytest.mark.parametrize(
    "document",
    [
        {"a.b": 1},
        {"$a": 1},
        {"a b": 1},
        {"a#": 1},
        {"a\n": 1},
        {"": 1},
        {"k" * 1025: 1},
        {"a": {"b.c": 1}},
        {"a": "x" * 4097},
        {"a": "\ud800"},
        {"a": MAX_INTEGER + 1},
        {"a": float("nan")},
        {"a": [1, None]},
        _nested(MAX_DEPTH + 1),
    ],
)
def test_what_no_twin_can_hold_is_refused(document: dict[str, Any]) -> None:
    """Keys, depth, lengths and numbers outside the hub's limits never get further."""
    with pytest.raises(TwinInvalid):
        check_limits(document)


@pytest.mark.parametrize(
    "document",
    [
        {"a-b_c": 1, "k" * 1024: "x" * 4096},
        {"a": MAX_INTEGER, "b": [{"c": []}], "n": None},
        _nested(MAX_DEPTH),
    ],
)
def test_what_a_twin_can_hold_passes(document: dict[str, Any]) -> None:
    """The limits themselves are still inside."""
    check_limits(document)
