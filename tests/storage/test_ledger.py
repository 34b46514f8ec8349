"""The sync's memory: what it wrote is what it reads, also after a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connected_registry.errors import StorageError
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.ledger import ImageState, State
from storage.store import OTHER, REPOSITORY, Store, open_store

DIGEST = Digest.of(b"wanted")


def pending(tag: str = "v1", state: State = "pending") -> ImageState:
    """A tag that is not here yet."""
    return ImageState(
        REPOSITORY, Tag(tag), DIGEST, None, state, "bytes", "3 blobs to fetch", 17, "rule"
    )


def test_images_come_back_as_recorded(store: Store) -> None:
    """With the time of the change, in order of their names."""
    now = store.clock()
    store.ledger.record_images([pending("b"), pending("a")], now)
    assert store.ledger.images() == [replace(pending(tag), changed_at=now) for tag in ("a", "b")]
    assert store.ledger.image(REPOSITORY, Tag("a")) == replace(pending("a"), changed_at=now)
    assert store.ledger.image(REPOSITORY, Tag("c")) is None


def test_images_can_be_asked_for_by_repository_and_state(store: Store) -> None:
    """Both at once, too."""
    store.ledger.record_image(pending("a"), store.clock())
    store.ledger.record_image(pending("b", "failed"), store.clock())
    store.ledger.record_image(replace(pending("c"), repository=OTHER), store.clock())
    assert [image.tag for image in store.ledger.images(REPOSITORY)] == ["a", "b"]
    assert [image.tag for image in store.ledger.images(states=["failed"])] == ["b"]
    assert store.ledger.images(OTHER, states=["failed"]) == []


def test_the_time_of_change_moves_only_with_a_change(store: Store) -> None:
    """Confirming the same again is no change, and keeps the last confirmation known."""
    first, second, third = store.clock(), store.clock(), store.clock()
    store.ledger.record_image(replace(pending(), confirmed_at=first), first)
    store.ledger.record_image(replace(pending(), bytes_missing=3), second)
    image = store.ledger.images()[0]
    assert (image.changed_at, image.confirmed_at, image.bytes_missing) == (first, first, 3)
    store.ledger.record_image(replace(pending(), held=DIGEST, state="synced"), third)
    assert store.ledger.images()[0].changed_at == third


def test_a_forgotten_image_is_gone(store: Store) -> None:
    """Forgetting twice is no error."""
    store.ledger.record_image(pending(), store.clock())
    store.ledger.forget_image(REPOSITORY, Tag("v1"))
    store.ledger.forget_image(REPOSITORY, Tag("v1"))
    assert store.ledger.images() == []


def test_runs_are_listed_newest_first(store: Store) -> None:
    """With what came of them."""
    ended = store.ledger.start_run("Schedule", store.clock())
    store.ledger.finish_run(
        ended.correlation_id, "succeeded", store.clock(), images=3, failed=1, bytes_fetched=1 << 40
    )
    running = store.ledger.start_run("ManualResync", store.clock(), "given-id")
    assert running.correlation_id == "given-id"
    newest, oldest = store.ledger.runs()
    assert (newest.correlation_id, newest.state, newest.ended_at) == ("given-id", "running", None)
    assert (oldest.images, oldest.failed, oldest.bytes_fetched) == (3, 1, 1 << 40)
    assert store.ledger.last_success() == oldest
    assert store.ledger.runs(limit=1) == [newest]


def test_a_run_that_a_crash_ended_does_not_look_under_way(tmp_path: Path) -> None:
    """The next one marks it."""
    with open_store(tmp_path / "data") as store:
        store.ledger.start_run("Schedule", store.clock())
        assert store.ledger.last_success() is None
    with open_store(tmp_path / "data") as store:
        store.ledger.start_run("Schedule", store.clock())
        assert [run.state for run in store.ledger.runs()] == ["running", "interrupted"]


def test_an_unknown_run_cannot_end(store: Store) -> None:
    """A slip in the caller is told."""
    with pytest.raises(StorageError, match="nothing"):
        store.ledger.finish_run("nothing", "failed", store.clock())


def test_old_runs_are_dropped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is bounded."""
    monkeypatch.setattr("connected_registry.storage.ledger._RUNS_KEPT", 3)
    runs = [store.ledger.start_run("Schedule", store.clock()) for _ in range(6)]
    assert [run.correlation_id for run in store.ledger.runs()] == [
        run.correlation_id for run in reversed(runs[-3:])
    ]


def test_the_meter_adds_up_and_survives(tmp_path: Path) -> None:
    """Each bucket by itself."""
    with open_store(tmp_path / "data") as store:
        today = store.clock()
        tomorrow = today + timedelta(days=1)
        assert store.ledger.meter(today) == 0
        assert store.ledger.count_bytes(today, 5) == 5
        assert store.ledger.count_bytes(today, 1 << 40) == 5 + (1 << 40)
        assert store.ledger.count_bytes(tomorrow, 1) == 1
    with open_store(tmp_path / "data") as store:
        assert store.ledger.meter(today) == 5 + (1 << 40)


def test_a_clock_far_behind_still_has_a_meter(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old buckets are dropped, never the one that is being counted in."""
    monkeypatch.setattr("connected_registry.storage.ledger._BUCKETS_KEPT", 2)
    now = store.clock()
    for days in range(5):
        store.ledger.count_bytes(now + timedelta(days=days), 7)
    past = now - timedelta(days=20000)
    assert store.ledger.count_bytes(past, 1) == 1
    assert store.ledger.count_bytes(past, 1) == 2
    assert store.ledger.meter(now) == 0


JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(min_size=1).filter(str.isprintable), JSON)
def test_any_json_value_is_kept(store: Store, key: str, value: Any) -> None:
    """Under any key, replaced by the next, dropped by nothing."""
    store.ledger.put(key, value)
    assert store.ledger.get(key) == value
    store.ledger.put(key, None)
    assert store.ledger.get(key) is None
