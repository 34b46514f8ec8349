from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.parent.occasion import (
    LONGEST_BACKOFF,
    LONGEST_RETRY_AFTER,
    Due,
    History,
    Trigger,
    Wait,
    backoff,
    decide,
)
from connected_registry.policy.schedule import ALWAYS
from connected_registry.policy.sync import SyncPolicy

NOON = datetime(2030, 5, 17, 12, 0, 10, tzinfo=UTC)
NIGHTLY = SyncPolicy(schedule="0 2 * * *", window=timedelta(hours=3))
CONTINUOUS = SyncPolicy()


def at(hour: int, minute: int = 0) -> datetime:
    """A time on that day."""
    return NOON.replace(hour=hour, minute=minute, second=0)


def test_the_first_sync_of_a_continuous_replica_is_due_at_once() -> None:
    """A replica that never synced starts with InitialSync and no deadline."""
    assert decide(NOON, CONTINUOUS, History()) == Due(Trigger.INITIAL)


def test_a_continuous_replica_syncs_at_start_and_then_at_each_minute() -> None:
    """After an attempt in this process the next one waits for the next occurrence."""
    history = History(last_success=NOON - timedelta(hours=1))
    assert decide(NOON, CONTINUOUS, history) == Due(Trigger.SCHEDULE)
    tried = History(last_success=NOON, last_attempt=NOON)
    assert decide(NOON, CONTINUOUS, tried) == Wait(at(12, 1), "schedule")
    assert decide(at(12, 1), CONTINUOUS, tried) == Due(Trigger.SCHEDULE)


def test_a_closed_window_waits_for_its_next_occurrence() -> None:
    """Outside the window nothing is due, not even the first sync."""
    assert decide(NOON, NIGHTLY, History()) == Wait(at(2) + timedelta(days=1), "schedule")


def test_an_open_window_gives_the_deadline() -> None:
    """A sync in a window ends with it."""
    assert decide(at(3), NIGHTLY, History()) == Due(Trigger.INITIAL, deadline=at(5))


def test_an_occurrence_missed_in_downtime_is_made_up_once_while_the_window_is_open() -> None:
    """A start in the middle of the window syncs, and a success there is the only one."""
    yesterday = History(last_success=at(2) - timedelta(days=1))
    assert decide(at(4, 30), NIGHTLY, yesterday) == Due(Trigger.SCHEDULE, deadline=at(5))
    done = History(last_success=at(4, 30), last_attempt=at(4, 30))
    assert decide(at(4, 45), NIGHTLY, done) == Wait(at(2) + timedelta(days=1), "schedule")


def test_a_failure_in_the_window_is_tried_again_in_the_window() -> None:
    """An attempt that did not succeed leaves the occurrence due."""
    failed = History(last_success=at(2) - timedelta(days=1), last_attempt=at(2))
    assert decide(at(2, 10), NIGHTLY, failed) == Due(Trigger.SCHEDULE, deadline=at(5))


def test_a_schedule_without_a_window_runs_until_done() -> None:
    """Without a window there is no deadline, and a missed occurrence is made up for."""
    policy = SyncPolicy(schedule="0 2 * * *")
    missed = History(last_success=at(1) - timedelta(days=1))
    assert decide(NOON, policy, missed) == Due(Trigger.SCHEDULE)
    assert isinstance(decide(NOON, policy, History(last_success=at(3))), Wait)


def test_paused_waits_whatever_else_is_true() -> None:
    """Neither the twin's pause nor that of the direct method lets anything start."""
    paused = SyncPolicy(paused=True)
    assert decide(NOON, paused, History()) == Wait(ALWAYS, "paused")
    assert decide(NOON, CONTINUOUS, History(), paused=True) == Wait(ALWAYS, "paused")


def test_backoff_holds_the_schedule_back() -> None:
    """A parent that was unreachable is left alone until the back-off is over."""
    waiting = History(last_attempt=NOON, backoff=timedelta(seconds=20))
    assert decide(NOON, CONTINUOUS, waiting) == Wait(NOON + timedelta(seconds=20), "backoff")


def test_more_than_the_message_ttl_without_success_leads_to_recovery() -> None:
    """After so long everything is compared again."""
    history = History(last_success=NOON - timedelta(days=2, seconds=1))
    assert decide(NOON, CONTINUOUS, history) == Due(Trigger.RECOVERY, resync=True)


def test_times_in_the_future_do_not_stop_syncs() -> None:
    """When the clock jumped back ten years, what was noted before does not count."""
    future = NOON + timedelta(days=3650)
    history = History(last_success=future, last_attempt=future)
    assert isinstance(decide(NOON, CONTINUOUS, history), Due)
    assert isinstance(decide(at(3), NIGHTLY, history), Due)


@given(
    now=st.integers(86_400, 7_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC)),
    ago=st.timedeltas(timedelta(days=-5), timedelta(days=5)),
    tried_ago=st.timedeltas(timedelta(days=-5), timedelta(days=5)),
    policy=st.sampled_from(
        [CONTINUOUS, NIGHTLY, SyncPolicy(schedule="*/7 3 * * 1", window=timedelta(hours=30))]
    ),
)
def test_a_wait_always_ends_later_than_now(
    now: datetime, ago: timedelta, tried_ago: timedelta, policy: SyncPolicy
) -> None:
    """Whatever the clock did, the answer is to sync or to wait for a time to come."""
    decision = decide(now, policy, History(now - ago, now - tried_ago))
    assert isinstance(decision, Due) or decision.until > now


@given(failures=st.integers(1, 10_000), spread=st.floats(0, 1))
def test_backoff_grows_to_a_limit(failures: int, spread: float) -> None:
    """The delay is between half and all of its longest, which never passes the limit."""
    delay = backoff(failures, spread=lambda: spread)
    assert timedelta(seconds=2.5) <= delay <= LONGEST_BACKOFF
    assert delay <= backoff(failures + 1, spread=lambda: spread)


def test_backoff_honours_retry_after_within_reason() -> None:
    """What the parent asks for is granted, up to an hour."""
    assert backoff(1, 300.0) == timedelta(seconds=300)
    assert backoff(1, 1e12) == LONGEST_RETRY_AFTER
