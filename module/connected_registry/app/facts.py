"""What the replica knows of itself, gathered for ``getStatus``, the twin and the status page."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from connected_registry import __version__
from connected_registry.app.link import Link
from connected_registry.app.store import Store
from connected_registry.edge.hub import HubState
from connected_registry.edge.reported import (
    Cache,
    ConnectionState,
    Facts,
    InSync,
    LoginServer,
    Missing,
    ParentStatus,
    Progress,
    RepositoryStatus,
    StatusDetail,
    SyncState,
    SyncStatus,
    SyncTrigger,
    Uploads,
)
from connected_registry.edge.twin import Desired
from connected_registry.parent.memory import Connection
from connected_registry.storage.ledger import Run
from connected_registry.storage.outgoing import Entry
from connected_registry.supervisor import JobState, JobStatus


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the facts come from; each is asked anew every time."""

    store: Store
    link: Callable[[], Link | None]
    desired: Callable[[], Desired]
    jobs: Callable[[], tuple[JobStatus, ...]]
    login_server: Callable[[], LoginServer | None]
    last_activity: Callable[[], datetime | None]
    clock: Callable[[], datetime]
    upkeep: Callable[[], Iterable[StatusDetail]]
    hub: Callable[[], HubState | None]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was read from the database in one go."""

    cache: Cache
    repositories: tuple[RepositoryStatus, ...]
    last_run: Run | None
    last_success: Run | None
    uploads: Uploads
    stuck: Entry | None


async def gather(sources: Sources) -> Facts:
    """One look at everything."""
    desired = sources.desired()
    stored = await asyncio.to_thread(_read, sources.store, desired)
    link = sources.link()
    details = (*_details(sources, link), *_upload_details(link, stored, sources.clock()))
    in_sync, as_of, missing = InSync.UNKNOWN, None, None
    if link is not None:
        known = link.synchronizer.completeness
        in_sync, as_of = InSync(known.in_sync), known.as_of
        missing = Missing(images=known.missing_images, bytes=known.missing_bytes)
    return Facts(
        connection_state=_connection_state(link, details),
        status_details=details,
        in_sync=in_sync,
        in_sync_as_of=as_of,
        missing=missing,
        sync=_sync(link, stored),
        parent=_parent(link),
        cache=stored.cache,
        repositories=stored.repositories,
        login_server=sources.login_server(),
        uploads=stored.uploads,
        version=__version__,
        last_activity_time=sources.last_activity(),
    )


def _read(store: Store, desired: Desired) -> _Stored:
    totals = store.registry.statistics()
    waiting: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for image in store.ledger.images():
        known[image.repository] += 1
        waiting[image.repository] += image.state != "synced"
    digests = store.registry.state_digests()
    runs = store.ledger.runs(1)
    queue = store.outgoing.figures(desired.sync.message_ttl)
    return _Stored(
        uploads=Uploads(waiting=queue.waiting, failed=queue.failed, oldest=queue.oldest),
        stuck=store.outgoing.first_failed(desired.sync.message_ttl) if queue.failed else None,
        cache=Cache(
            repositories=totals.repositories,
            tags=totals.tags,
            manifests=totals.manifests,
            blobs=totals.blobs,
            bytes=totals.bytes,
            quota_bytes=desired.storage.quota_bytes,
            free_bytes=totals.free_bytes,
        ),
        repositories=tuple(
            RepositoryStatus(
                name=each.name,
                tags=each.tags,
                bytes=each.bytes,
                in_sync=_repository_in_sync(known[each.name], waiting[each.name]),
                state_digest=digests.get(each.name),
            )
            for each in store.registry.repository_statistics().items
        ),
        last_run=runs[0] if runs else None,
        last_success=store.ledger.last_success(),
    )


def _repository_in_sync(known: int, waiting: int) -> InSync:
    if not known:
        return InSync.UNKNOWN
    return InSync.FALSE if waiting else InSync.TRUE


def _connection_state(link: Link | None, details: Iterable[StatusDetail]) -> ConnectionState:
    if link is not None:
        online = link.synchronizer.connection.online
        if link.at_work and online is not False:
            return ConnectionState.SYNCING
        if not online:
            return ConnectionState.OFFLINE
    return ConnectionState.UNHEALTHY if tuple(details) else ConnectionState.ONLINE


def _sync(link: Link | None, stored: _Stored) -> SyncStatus:
    run, success = stored.last_run, stored.last_success
    if link is None:
        return SyncStatus()
    running = link.at_work
    state = SyncState.NOT_ACTIVATED if run is None else _state_of(run, link)
    return SyncStatus(
        trigger=SyncTrigger(run.trigger) if run is not None else None,
        state=SyncState.SYNCING if running else state,
        last_sync_start_time=run.started_at if run is not None else None,
        last_sync_end_time=run.ended_at if run is not None else None,
        last_successful_sync_end_time=success.ended_at if success is not None else None,
        next_sync_time=link.scheduler.next_sync(),
        progress=_progress(link) if running else None,
        last_error=run.error if run is not None else None,
    )


def _state_of(run: Run, link: Link) -> SyncState:
    last = link.synchronizer.last
    if last is not None and last.correlation_id == run.correlation_id:
        return SyncState(last.state.value)
    return {
        "succeeded": SyncState.SUCCEEDED,
        "failed": SyncState.FAILED,
    }.get(run.state, SyncState.PENDING)


def _progress(link: Link) -> Progress:
    return Progress.model_validate(link.synchronizer.progress().to_json())


def _parent(link: Link | None) -> ParentStatus:
    if link is None:
        return ParentStatus()
    connection = link.synchronizer.connection
    return ParentStatus(
        login_server=link.choice.address.host,
        offline_since=connection.since if connection.online is False else None,
    )


def _details(sources: Sources, link: Link | None) -> Iterable[StatusDetail]:
    if link is not None:
        yield from _parent_details(link.synchronizer.connection, sources.clock())
    for job in sources.jobs():
        if job.state is JobState.FAILED:
            yield StatusDetail(
                type="Job",
                code=f"{job.name.title()}Failed",
                description=job.error or "failed",
                timestamp=job.since,
            )
    yield from sources.upkeep()
    yield from _hub_details(sources.hub(), sources.clock())


def _upload_details(link: Link | None, stored: _Stored, now: datetime) -> Iterable[StatusDetail]:
    problem = link.uplink.problem if link is not None else None
    if problem is not None and problem.kind != "offline":
        yield StatusDetail(
            type="Uploads",
            code="".join(word.capitalize() for word in problem.kind.split()),
            description=problem.detail,
            timestamp=problem.since,
        )
    if (stuck := stored.stuck) is not None:
        why = f"{stuck.reason}: {stuck.detail}" if stuck.reason else "it waits for too long"
        yield StatusDetail(
            type="Uploads",
            code="PushFailed",
            description=f"{stored.uploads.failed} changes did not go up yet; {stuck}: {why}",
            timestamp=stuck.tried_at or now,
        )


def _hub_details(hub: HubState | None, now: datetime) -> Iterable[StatusDetail]:
    if hub is None:
        return
    if hub.stuck_since is not None:
        yield StatusDetail(
            type="Hub",
            code="ClientStuck",
            description="the hub client hangs; only a restart of the module mends that",
            timestamp=hub.stuck_since,
        )
    if hub.refused:
        yield StatusDetail(
            type="Hub",
            code="ReportRefused",
            description=f"the hub does not take {', '.join(hub.refused)}",
            timestamp=now,
        )


def _parent_details(connection: Connection, now: datetime) -> Iterable[StatusDetail]:
    if connection.kind is not None:
        yield StatusDetail(
            type="Parent",
            code="".join(word.capitalize() for word in connection.kind.split()),
            description=connection.detail or connection.kind,
            timestamp=connection.since or now,
        )
