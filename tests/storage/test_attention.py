"""What somebody looked at is kept for a while, by a clock that cannot jump."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connected_registry.oci.digest import Digest
from connected_registry.storage import attention as module
from connected_registry.storage.attention import Attention

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


class Seconds:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_note_holds_at_least_as_long_as_promised_and_at_most_twice() -> None:
    """Whenever in a period it was made."""
    for begun in (0, 1, 1800, 3599):
        seconds = Seconds()
        attention = Attention(timedelta(hours=1), monotonic=seconds)
        seconds.now += begun
        attention.note(ONE)
        seconds.now += 3600 - 1
        assert attention.noted(ONE)
        seconds.now += 3601
        assert not attention.noted(ONE)


def test_nothing_is_removed_that_was_noted() -> None:
    """And what was not noted is removed exactly once."""
    attention = Attention()
    attention.note(ONE)
    removed: list[str] = []
    assert not attention.unless_noted(ONE, removed.append)
    assert attention.unless_noted(TWO, removed.append)
    assert removed == [TWO]


def test_more_notes_than_can_be_kept_keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and the bound errs on the side of keeping."""
    monkeypatch.setattr(module, "_MOST", 1)
    seconds = Seconds()
    attention = Attention(timedelta(hours=1), monotonic=seconds)
    attention.note(ONE)
    assert not attention.noted(TWO)
    attention.note(TWO)
    assert attention.noted(Digest.of(b"three"))
    seconds.now += 3600
    assert attention.noted(Digest.of(b"three"))
    seconds.now += 3600
    assert not attention.noted(Digest.of(b"three"))
