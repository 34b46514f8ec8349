"""The ladder from plenty of room to none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.errors import InsufficientStorage
from connected_registry.policy.storage import StoragePolicy
from connected_registry.storage.content import Statistics
from connected_registry.storage.space import Room, Space, Step

sizes = st.integers(0, 2**50)


def room(used: int, free: int, quota: int | None = None, *, for_pushes: bool = False) -> Room:
    """A reserve of 100 bytes."""
    return Room(used, free, 100, quota, for_pushes)


@pytest.mark.parametrize(
    ("look", "step", "left"),
    [
        (room(0, 1100), Step.ROOM, 1000),
        (room(900, 199), Step.LOW, 99),
        (room(900, 100), Step.FULL, 0),
        (room(900, 0), Step.FULL, -100),
        (room(500, 10**9, 1000), Step.ROOM, 500),
        (room(950, 10**9, 1000), Step.LOW, 50),
        (room(1000, 10**9, 1000), Step.FULL, 0),
        (room(2000, 10**9, 1000), Step.FULL, -1000),
        (room(500, 150, 1000), Step.LOW, 50),
        (room(990, 10**9, 1000, for_pushes=True), Step.SHORT, 10),
        (room(990, 10**9, 1000), Step.LOW, 10),
    ],
)
def test_the_step_follows_from_the_room(look: Room, step: Step, left: int) -> None:
    """Quota and reserve, whichever is nearer; a sync leaves something to pushes."""
    assert (look.step, look.left) == (step, left)
    assert str(look.free) in look.describe()


@given(st.builds(Room, sizes, sizes, sizes, st.none() | sizes, st.booleans()))
def test_no_step_allows_more_than_an_earlier_one(look: Room) -> None:
    """What the sync may fetch always fits, and a full disk is never called anything else."""
    assert look.for_sync <= look.left
    assert (look.step is Step.FULL) == (look.left <= 0)
    if look.step in (Step.ROOM, Step.LOW):
        assert look.for_sync > 0
    assert look.wanted >= 0


class Disk:
    """Statistics that a test sets, and how often they were asked for."""

    def __init__(self) -> None:
        self.used, self.asked, self.now = 0, 0, 0.0

    def statistics(self) -> Statistics:
        """Look."""
        self.asked += 1
        return Statistics(0, 0, 0, 0, self.used, 2**40)

    def space(self, quota: int = 1000) -> Space:
        """With the least of reserves."""
        policy = StoragePolicy(quota_bytes=quota, reserve_bytes=0)
        return Space(self.statistics, lambda: policy, lambda: False, monotonic=lambda: self.now)


def test_a_push_is_refused_with_numbers_until_there_is_room_again() -> None:
    """In one sentence that says what is left and what to do; it recovers by itself."""
    disk = Disk()
    space = disk.space()
    space.admit_push(999)
    with pytest.raises(InsufficientStorage, match="1000 bytes are left") as refusal:
        space.admit_push(1001)
    assert refusal.value.status == 507
    disk.used, disk.now = 1000, 2.0
    with pytest.raises(InsufficientStorage):
        space.admit_push()
    disk.used, disk.now = 0, 4.0
    space.admit_push()


def test_many_questions_are_one_look() -> None:
    """Each chunk of a push may ask."""
    disk = Disk()
    space = disk.space()
    for _ in range(100):
        space.admit_push()
    assert disk.asked == 1
    space.look(anew=True)
    assert disk.asked == 2
