from __future__ import annotations

from typing import Any

import pytest

from local_hub.section import MAX_INTEGER, Section, SectionError, size_of


def test_a_patch_merges_removes_and_counts() -> None:
    """Objects merge, null removes, arrays are replaced whole, the version rises by one."""
    section = Section({"a": {"b": 1, "c": [1, 2]}, "d": 1}, 4)
    section.patch({"a": {"c": [3]}, "d": None, "e": {"f": {"g": None}}})

    assert section.document() == {"a": {"b": 1, "c": [3]}, "e": {"f": {}}, "$version": 5}


def test_a_replacement_forgets_what_was_there() -> None:
    """Only the new values remain."""
    section = Section({"a": 1})
    section.replace({"b": 2})

    assert section.values == {"b": 2}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"a.b": 1},
        {"$a": 1},
        {"a#": 1},
        {"a b": 1},
        {"a\x01": 1},
        {"k" * 1025: 1},
        {"a": "é" * 2049},
        {"a": [1, None]},
        {"a": [{"b": None}]},
        {"a": MAX_INTEGER + 1},
        {str(n): "x" * 4000 for n in range(9)},
    ],
)
def test_what_iot_hub_refuses_changes_nothing(patch: Any) -> None:
    """Values and version stay as they were."""
    section = Section({"kept": 1}, 7)

    with pytest.raises(SectionError):
        section.patch(patch)

    assert section.document() == {"kept": 1, "$version": 7}


def test_nesting_is_limited() -> None:
    """Ten levels are taken, twelve are not."""

    def nested(levels: int) -> dict[str, Any]:
        return {"a": nested(levels - 1) if levels > 1 else 1}

    Section().patch(nested(10))
    with pytest.raises(SectionError, match="deeper"):
        Section().patch(nested(12))


def test_sizes_are_counted_as_the_hub_counts_them() -> None:
    """Keys and texts in UTF-8 bytes, 8 a number, 4 a boolean."""
    assert size_of({"é": [1, True, "ab", 2.5]}) == 2 + 8 + 4 + 2 + 8
