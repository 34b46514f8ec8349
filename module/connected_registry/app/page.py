"""The status page's facts, from those that are reported and what the store knows besides."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connected_registry.app.link import Link
from connected_registry.app.store import Store
from connected_registry.app.traffic import Traffic
from connected_registry.edge.reported import Facts, InSync
from connected_registry.edge.twin import Desired
from connected_registry.endpoint.page.facts import (
    AbsentImage,
    Answer,
    DayFacts,
    DiskFacts,
    PushFacts,
    RepositoryFacts,
    RunFacts,
    SiteFacts,
    SyncFacts,
    Trouble,
)
from connected_registry.storage.ledger import ImageState, Run
from connected_registry.storage.overview import RepositoryOverview

MISSING_SHOWN: Final = 50
RUNS_SHOWN: Final = 10
_RUNS_READ: Final = 100

_ANSWERS: Final[dict[InSync, Answer]] = {
    InSync.TRUE: "true",
    InSync.FALSE: "false",
    InSync.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was read in one go, in a thread."""

    repositories: dict[str, RepositoryOverview]
    missing: list[ImageState]
    missing_total: int
    runs: tuple[Run, ...]
    disk_total: int


async def site_facts(
    facts: Facts,
    *,
    store: Store,
    link: Link | None,
    desired: Desired,
    traffic: Traffic,
    actions: frozenset[str],
    now: datetime,
) -> SiteFacts:
    """Everything the page shows."""
    stored = await asyncio.to_thread(_read, store)
    connection = link.synchronizer.connection if link is not None else None
    server, missing = facts.login_server, facts.missing
    return SiteFacts(
        name=server.host if server is not None else "connected registry",
        version=facts.version,
        now=now,
        mode=desired.mode.value,
        parent=facts.parent.login_server,
        online=connection.online if connection is not None else None,
        link_since=connection.since if connection is not None else None,
        troubles=tuple(
            Trouble(kind=detail.type, description=detail.description, since=detail.timestamp)
            for detail in facts.status_details
        ),
        in_sync=_ANSWERS[facts.in_sync],
        in_sync_as_of=facts.in_sync_as_of,
        missing_images=missing.images if missing is not None else 0,
        missing_bytes=missing.bytes if missing is not None else 0,
        scope_empty=not desired.scope.repositories,
        sync=_sync(link, desired),
        repositories=tuple(_repositories(facts, stored, link)),
        absent=tuple(_absent(image) for image in stored.missing),
        absent_total=stored.missing_total,
        disk=DiskFacts(
            content=facts.cache.bytes,
            quota=desired.storage.quota_bytes,
            reserve=desired.storage.reserve_bytes,
            free=facts.cache.free_bytes or 0,
            total=stored.disk_total,
        ),
        pushes=PushFacts(
            waiting=facts.uploads.waiting,
            failed=facts.uploads.failed,
            oldest=facts.uploads.oldest,
        ),
        runs=tuple(_run(run) for run in stored.runs),
        tls=server is not None and server.tls.status == "Enabled",
        certificate_expires=(
            server.tls.certificate.expires
            if server is not None and server.tls.certificate is not None
            else None
        ),
        traffic=tuple(
            DayFacts(day=day, received=received, served=served)
            for day, received, served in traffic.days()
        ),
        actions=actions,
    )


def _read(store: Store) -> _Stored:
    missing, total = store.overview.missing(MISSING_SHOWN)
    runs = store.ledger.runs(_RUNS_READ)
    # With a continuous schedule nearly all of them only found that nothing is new.
    telling = [run for run in runs[1:] if run.state != "succeeded" or run.images or run.failed]
    return _Stored(
        repositories=store.overview.repositories(),
        missing=missing,
        missing_total=total,
        runs=tuple([*runs[:1], *telling][:RUNS_SHOWN]),
        disk_total=shutil.disk_usage(store.folder.path).total,
    )


def _sync(link: Link | None, desired: Desired) -> SyncFacts:
    if link is None:
        return SyncFacts()
    schedule = desired.sync.timetable
    progress = link.synchronizer.progress()
    return SyncFacts(
        running=link.at_work,
        paused=link.scheduler.paused,
        phase=progress.phase,
        images_done=progress.images_done,
        images_total=progress.images_total,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        bytes_per_second=progress.bytes_per_second,
        seconds_left=progress.eta_seconds,
        current=progress.current,
        next_start=link.scheduler.next_sync(),
        schedule=schedule.describe(),
        continuous=schedule.continuous,
    )


def _repositories(facts: Facts, stored: _Stored, link: Link | None) -> Iterator[RepositoryFacts]:
    """Those that hold something, and those that should."""
    held = {each.name: each for each in facts.repositories}
    for name in sorted(held.keys() | stored.repositories.keys()):
        here = held.get(name)
        known = stored.repositories.get(name, RepositoryOverview())
        remembered = link.synchronizer.memory.repository(name) if link is not None else None
        yield RepositoryFacts(
            name=name,
            tags=here.tags if here is not None else 0,
            bytes=here.bytes if here is not None else 0,
            known=known.known,
            waiting=known.waiting,
            held_back=known.held_back,
            changed_at=known.changed_at,
            confirmed_at=remembered.listed_at if remembered is not None else None,
        )


def _absent(image: ImageState) -> AbsentImage:
    return AbsentImage(
        repository=image.repository,
        tag=image.tag,
        state=image.state,
        reason=image.reason,
        detail=image.detail,
        bytes_missing=image.bytes_missing,
        older_held=image.held is not None,
        since=image.changed_at,
    )


def _run(run: Run) -> RunFacts:
    return RunFacts(
        trigger=run.trigger,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        images=run.images,
        failed=run.failed,
        bytes=run.bytes_fetched,
        error=run.error,
    )
