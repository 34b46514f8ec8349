"""Sites as the status page may meet them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from connected_registry.endpoint.page.facts import (
    AbsentImage,
    DayFacts,
    DiskFacts,
    PushFacts,
    RepositoryFacts,
    RunFacts,
    SiteFacts,
    SyncFacts,
    Trouble,
)

NOW = datetime(2026, 11, 23, 16, 40, tzinfo=UTC)
ACTIONS = frozenset(
    {"syncNow", "cancelSync", "pauseSync", "resumeSync", "verifyStore", "collectGarbage"}
)
GB = 10**9


def before(**span: float) -> datetime:
    """A moment in the past."""
    return NOW - timedelta(**span)


EMPTY = SiteFacts(name="plant7.example.com", version="0.1.0", now=NOW, actions=ACTIONS)
"""A replica that was just started, without a parent."""

COMPLETE = SiteFacts(
    name="plant7.example.com",
    version="0.1.0",
    now=NOW,
    mode="ReadOnly",
    parent="headquarters.azurecr.io",
    online=True,
    link_since=before(days=2, hours=3),
    in_sync="true",
    in_sync_as_of=before(minutes=4),
    sync=SyncFacts(
        next_start=NOW + timedelta(hours=9, minutes=20),
        schedule="at 02:00 every day UTC (0 2 * * *), for PT4H",
        continuous=False,
    ),
    repositories=(
        RepositoryFacts(
            name="azureiotedge/agent",
            tags=2,
            bytes=142_000_000,
            known=2,
            changed_at=before(days=41),
            confirmed_at=before(minutes=4),
        ),
        RepositoryFacts(
            name="line-4/vision",
            tags=18,
            bytes=6_830_000_000,
            known=18,
            changed_at=before(hours=14),
            confirmed_at=before(minutes=4),
        ),
        RepositoryFacts(
            name="plant/controller",
            tags=7,
            bytes=912_000_000,
            known=7,
            held_back=1,
            changed_at=before(days=3),
            confirmed_at=before(minutes=4),
        ),
        RepositoryFacts(name="team/tools", tags=1, bytes=31_000_000, changed_at=before(minutes=50)),
    ),
    disk=DiskFacts(content=7 * GB, quota=20 * GB, reserve=2 * GB, free=41 * GB, total=64 * GB),
    runs=(
        RunFacts(
            trigger="Schedule",
            state="succeeded",
            started_at=before(hours=14, minutes=30),
            ended_at=before(hours=14),
            images=3,
            bytes=1_430_000_000,
        ),
        RunFacts(
            trigger="ManualResync",
            state="failed",
            started_at=before(days=1, hours=2),
            ended_at=before(days=1, hours=1, minutes=58),
            images=1,
            failed=2,
            bytes=80_000_000,
            error="headquarters.azurecr.io cannot be reached: connection timed out",
        ),
    ),
    tls=True,
    certificate_expires=NOW + timedelta(days=74),
    traffic=tuple(
        DayFacts(
            day=date(2026, 11, 23) - timedelta(days=back),
            received=(0 if back % 7 in (1, 2) else ((back * 37) % 11) * GB // 9),
            served=((back * 53) % 17 + 2) * GB // 5,
        )
        for back in reversed(range(30))
    ),
    actions=ACTIONS,
)
"""Everything here, and a little history."""

SYNCING = replace(
    COMPLETE,
    in_sync="false",
    missing_images=28,
    missing_bytes=2_190_000_000,
    sync=SyncFacts(
        running=True,
        phase="fetching",
        images_done=12,
        images_total=40,
        bytes_done=1_240_000_000,
        bytes_total=3_430_000_000,
        bytes_per_second=11_700_000,
        seconds_left=187,
        current="line-4/vision:2.8.1",
        continuous=True,
    ),
    repositories=tuple(
        replace(each, waiting=28, known=46) if each.name == "line-4/vision" else each
        for each in COMPLETE.repositories
    ),
    absent=tuple(
        AbsentImage(
            repository="line-4/vision",
            tag=f"2.8.{patch}",
            state="pending",
            bytes_missing=78_000_000 + patch * 1_100_000,
        )
        for patch in range(4)
    ),
    absent_total=28,
)

OFFLINE = replace(
    COMPLETE,
    online=False,
    link_since=before(hours=7),
    in_sync_as_of=before(hours=7, minutes=1),
    sync=replace(COMPLETE.sync, next_start=NOW + timedelta(seconds=40), continuous=True),
    repositories=tuple(
        replace(each, confirmed_at=each.confirmed_at and before(hours=7, minutes=1))
        for each in COMPLETE.repositories
    ),
    troubles=(
        Trouble(
            kind="Parent",
            description="headquarters.azurecr.io cannot be reached: connection timed out",
            since=before(hours=7),
        ),
    ),
    pushes=PushFacts(waiting=3, oldest=before(hours=5)),
    certificate_expires=NOW + timedelta(days=6),
)

PRESSED = replace(
    COMPLETE,
    in_sync="false",
    missing_images=2,
    missing_bytes=1_900_000_000,
    absent=(
        AbsentImage(
            repository="line-4/vision",
            tag="2.8.1",
            state="failed",
            reason="disk full",
            detail="1.1 GB are needed and only the reserve of 2.0 GB is left on the disk",
            bytes_missing=1_100_000_000,
            older_held=True,
        ),
        AbsentImage(
            repository="plant/controller",
            tag="5.0",
            state="failed",
            reason="not found",
            detail="the parent lists the tag but does not have its manifest",
        ),
    ),
    absent_total=2,
    repositories=tuple(
        replace(each, waiting=1) if each.known > 2 else each for each in COMPLETE.repositories
    ),
    disk=DiskFacts(content=19 * GB, quota=20 * GB, reserve=2 * GB, free=GB, total=64 * GB),
    troubles=(
        Trouble(
            kind="Disk",
            description="1000000000 bytes are free and 2000000000 are to be kept in reserve",
            since=before(minutes=12),
        ),
    ),
    sync=replace(COMPLETE.sync, paused=True, next_start=None),
)
"""No room left."""

ALL = {
    "first-look": EMPTY,
    "complete": COMPLETE,
    "syncing": SYNCING,
    "offline": OFFLINE,
    "disk-pressure": PRESSED,
}

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


def hostile(facts: SiteFacts) -> SiteFacts:
    """The same with markup in every text that comes from outside."""
    return replace(
        facts,
        name=HOSTILE,
        parent=HOSTILE,
        repositories=tuple(replace(each, name=HOSTILE) for each in facts.repositories),
        absent=tuple(
            replace(each, repository=HOSTILE, tag=HOSTILE, reason=HOSTILE, detail=HOSTILE)
            for each in facts.absent
        ),
        runs=tuple(
            replace(each, error=HOSTILE, trigger=HOSTILE, state=HOSTILE) for each in facts.runs
        ),
        troubles=(Trouble(kind=HOSTILE, description=HOSTILE, since=before(hours=1)),),
        sync=replace(facts.sync, current=HOSTILE, phase=HOSTILE, schedule=HOSTILE),
    )
