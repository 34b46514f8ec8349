"""The twin's ``mode``."""

from __future__ import annotations

import pytest

from connected_registry.policy.mode import Mode


@pytest.mark.parametrize(
    ("word", "mode"),
    [
        ("ReadOnly", Mode.READ_ONLY),
        ("ReadWrite", Mode.READ_WRITE),
        ("Mirror", Mode.READ_ONLY),
        ("Registry", Mode.READ_WRITE),
        ("readwrite", Mode.READ_WRITE),
        ("MIRROR", Mode.READ_ONLY),
    ],
)
def test_old_and_new_names_mean_the_same(word: str, mode: Mode) -> None:
    """The names of the original's first releases are understood, in any case."""
    assert Mode(word) is mode


@pytest.mark.parametrize("word", ["", "read-only", 1, None])
def test_other_words_are_no_mode(word: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="is not a valid Mode"):
        Mode(word)
