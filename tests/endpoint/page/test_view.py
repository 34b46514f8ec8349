from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from connected_registry.endpoint.page.facts import (
    DiskFacts,
    PushFacts,
    RepositoryFacts,
    SiteFacts,
    SyncFacts,
)
from connected_registry.endpoint.page.view import Line, narrow, view
from endpoint.sites import COMPLETE, EMPTY, GB, NOW, OFFLINE, PRESSED, SYNCING, before

WAITING = replace(COMPLETE, in_sync="unknown", in_sync_as_of=None)


@pytest.mark.parametrize(
    ("facts", "text", "tone"),
    [
        (EMPTY, "No parent", "calm"),
        (COMPLETE, "Complete", "good"),
        (SYNCING, "28 images missing", "warn"),
        (PRESSED, "2 images missing", "bad"),
        (replace(PRESSED, missing_images=1), "1 image missing", "bad"),
        (OFFLINE, "Complete as of 09:39 UTC", "warn"),
        (replace(COMPLETE, in_sync="unknown"), "Unknown since 16:36 UTC", "warn"),
        (WAITING, "Not known yet", "warn"),
        (replace(COMPLETE, scope_empty=True), "Nothing to hold", "calm"),
    ],
)
def test_the_headline_answers_whether_the_site_is_complete(
    facts: SiteFacts, text: str, tone: str
) -> None:
    """And never claims more than the parent has confirmed."""
    headline = view(facts).headline

    assert (headline.text, headline.tone) == (text, tone)
    assert view(facts).explanation.endswith(".")


def test_progress_has_rate_and_time_left() -> None:
    """By bytes where they are known."""
    shown = view(SYNCING)

    assert shown.progress is not None
    assert shown.progress.percent == 36.2
    assert shown.progress.text == (
        "12 of 40 images · 1.2 GB of 3.4 GB · 11.7 MB/s · 3 min 7 s left"
    )
    assert shown.progress_now == "fetching: line-4/vision:2.8.1"
    assert view(COMPLETE).progress is None


@pytest.mark.parametrize(
    ("sync", "words"),
    [
        (COMPLETE.sync, "Next sync at 24 Nov, 02:00 UTC, in 9 hours: at 02:00 every day"),
        (SyncFacts(running=True), "A sync is running."),
        (SyncFacts(paused=True), "No sync starts until it is resumed."),
        (SyncFacts(next_start=NOW), "Syncs continuously; next now."),
        (
            SyncFacts(next_start=NOW + timedelta(seconds=40)),
            "Syncs continuously; next within a minute.",
        ),
        (SyncFacts(), "No sync is planned."),
    ],
)
def test_the_next_sync_is_told_in_words(sync: SyncFacts, words: str) -> None:
    """Whatever decides when it starts."""
    assert view(replace(COMPLETE, sync=sync)).next_sync.startswith(words)


@pytest.mark.parametrize(
    ("free", "tone"), [(41 * GB, "good"), (3 * GB, "warn"), (GB, "bad"), (0, "bad")]
)
def test_the_disk_worries_before_it_is_full(free: int, tone: str) -> None:
    """The reserve is what counts, not the last byte."""
    disk = DiskFacts(content=7 * GB, reserve=2 * GB, free=free, total=64 * GB)
    [bar] = view(replace(COMPLETE, disk=disk)).bars

    assert bar.tone == tone
    assert bar.mark == 96.9
    assert ("Full" in bar.text) is (tone == "bad")


def test_a_quota_that_is_exceeded_stays_inside_its_bar() -> None:
    """And is told."""
    disk = DiskFacts(content=30 * GB, quota=20 * GB)
    [bar] = view(replace(COMPLETE, disk=disk)).bars

    assert (bar.percent, bar.tone) == (100.0, "bad")
    assert bar.text == "30.0 GB of 20.0 GB used by content"


@pytest.mark.parametrize(
    ("left", "line"),
    [
        (timedelta(days=74), Line("Expires in 74 days", "calm", "on 5 Feb 2027, 16:40 UTC")),
        (timedelta(days=6), Line("Expires in 6 days", "warn", "on 29 Nov, 16:40 UTC")),
        (timedelta(days=-2), Line("Expired 2 days ago", "bad")),
    ],
)
def test_a_certificate_is_told_in_time(left: timedelta, line: Line) -> None:
    """Two weeks before its end."""
    assert view(replace(COMPLETE, certificate_expires=NOW + left)).certificate == line


def test_pushes_that_failed_come_first() -> None:
    """Waiting alone is only a worry while there is no parent."""
    pushes = PushFacts(waiting=3, oldest=before(hours=5))

    assert view(COMPLETE).pushes == Line("None waiting")
    assert view(replace(COMPLETE, pushes=pushes)).pushes.tone == "calm"
    assert view(OFFLINE).pushes == Line("3 waiting", "warn", "oldest 5 hours ago")
    failed = replace(pushes, failed=1)
    assert view(replace(COMPLETE, pushes=failed)).pushes.text == "3 waiting, 1 failed"


def test_what_is_missing_says_why() -> None:
    """In the ledger's words, with what is here instead."""
    first, second = view(PRESSED).absent

    assert first.name == "line-4/vision:2.8.1"
    assert first.why == "could not be fetched: disk full; an older one is here"
    assert first.detail.startswith("1.1 GB are needed")
    assert (second.size, view(SYNCING).absent_more) == ("–", 24)


def test_a_narrow_reader_is_told_no_names_it_may_not_know() -> None:
    """Not in tables, and not in sentences of errors, which may hold any name."""
    shown = narrow(PRESSED, lambda name: name == "plant/controller", everything=False)
    text = repr((shown, view(shown)))

    assert [each.name for each in shown.repositories] == ["plant/controller"]
    assert [each.repository for each in shown.absent] == ["plant/controller"]
    assert shown.absent_total == 1
    assert "line-4" not in text
    assert "timed out" not in text
    assert "1000000000 bytes" not in text
    assert view(shown).headline.text == "2 images missing"
    assert narrow(PRESSED, lambda _: False, everything=True) is PRESSED


def test_a_first_sync_does_not_promise_what_is_not_there() -> None:
    """Nothing can be pulled before anything is here."""
    empty = replace(SYNCING, repositories=(), in_sync_as_of=None, missing_bytes=0)

    assert "can be pulled" in view(SYNCING).explanation
    assert view(empty).explanation == "The parent was not asked to the end yet."


def test_a_long_table_is_cut_where_all_is_well() -> None:
    """What lacks something stays on it, in front."""
    many = tuple(
        RepositoryFacts(name=f"r{index:04}", tags=1, bytes=1, known=1, waiting=int(index == 900))
        for index in range(1000)
    )
    shown = view(replace(COMPLETE, repositories=many))

    assert [line.facts.name for line in shown.repositories[:2]] == ["r0900", "r0000"]
    assert (len(shown.repositories), shown.repositories_more) == (200, 800)
