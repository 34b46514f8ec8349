"""What the direct methods do, in terms of the replica's parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from connected_registry.app.link import Link
from connected_registry.app.store import Store
from connected_registry.edge import payload as payloads
from connected_registry.edge.methods import Answer, Operations
from connected_registry.edge.tasks import Task
from connected_registry.errors import Conflict, NameUnknown, ParentError
from connected_registry.oci.platform import Platform
from connected_registry.oci.reference import ImageName, RepositoryName
from connected_registry.parent.explain import Explainer
from connected_registry.parent.occasion import Trigger
from connected_registry.policy.scope import Scope

PROGRESS_EVERY = 0.2
"""Seconds between two looks at a running sync, for whoever follows its task."""


class ReplicaOperations:
    """The handlers behind `Operations`; ``link`` is None while there is no parent."""

    def __init__(
        self,
        store: Store,
        link: Callable[[], Link | None],
        scope: Callable[[], Scope],
        explainer: Callable[[], Explainer],
        status: Callable[[], Awaitable[Answer]],
        message_ttl: Callable[[], timedelta],
    ) -> None:
        self._store = store
        self._link = link
        self._scope = scope
        self._explainer = explainer
        self._status = status
        self._message_ttl = message_ttl

    def table(self) -> Operations:
        """The handlers by method; what is left out is not in this release."""
        return Operations(
            sync_now=self.sync_now,
            syncing=self.syncing,
            cancel_sync=self.cancel_sync,
            pause_sync=self.pause_sync,
            resume_sync=self.resume_sync,
            plan_sync=self.plan_sync,
            get_status=self._status,
            list_images=self.list_images,
            check_images=self.check_images,
            explain=self.explain,
            find_run=self.find_run,
            list_uploads=self.list_uploads,
        )

    def _connected(self) -> Link:
        link = self._link()
        if link is None:
            raise Conflict("this replica has no parent; nothing can be synchronised")
        return link

    def syncing(self) -> str | None:
        """The correlation id of the sync under way."""
        link = self._link()
        return link.synchronizer.running if link is not None else None

    async def sync_now(self, wanted: payloads.SyncNow, task: Task) -> Answer:
        """Sync at once and wait for the end."""
        link = self._connected()
        link.uplink.hurry()
        link.scheduler.request(
            Trigger.MANUAL,
            repositories=wanted.repositories or None,
            resync=wanted.resync,
            correlation_id=task.correlation_id,
        )
        run = asyncio.create_task(link.synchronizer.wait())
        try:
            while not run.done():
                task.report(link.synchronizer.progress().to_json())
                await asyncio.wait({run}, timeout=PROGRESS_EVERY)
        finally:
            run.cancel()
        result = await run
        return result.to_json() if result is not None else {}

    async def cancel_sync(self) -> Answer:
        """Stop the sync under way; what has arrived is kept."""
        link = self._connected()
        return {"cancelled": link.synchronizer.cancel()}

    async def pause_sync(self) -> Answer:
        """Start no sync until resumed; the one under way stops."""
        await self._connected().scheduler.pause()
        return {"paused": True}

    async def resume_sync(self) -> Answer:
        """Sync again by the schedule."""
        await self._connected().scheduler.resume()
        return {"paused": False}

    async def plan_sync(self, wanted: payloads.PlanSync, task: Task) -> Answer:
        """Say what a sync would do; an absent parent is part of the answer."""
        link = self._connected()
        task.report({"phase": "planning"})
        try:
            plan = await link.synchronizer.plan(wanted.repositories or None)
        except ParentError as error:
            failure = {"image": "*", "reason": error.kind, "detail": str(error)}
            return {"failures": [failure], "offline": error.kind == "offline", "complete": False}
        return plan.to_json(await link.synchronizer.last_rate())

    async def list_images(self, wanted: payloads.ListImages) -> Answer:
        """One page of the images held."""
        return await asyncio.to_thread(self._list_images, wanted)

    def _list_images(self, wanted: payloads.ListImages) -> Answer:
        repository, _, last = (wanted.continuation_token or "").partition(":")
        names = self._repositories(wanted.repository, repository)
        rows: list[dict[str, Any]] = []
        for name in names:
            after = last if name == repository and last else None
            room = wanted.limit - len(rows)
            try:
                page = self._store.registry.tag_details(name, after, room)
            except NameUnknown:
                if wanted.repository is not None:
                    raise
                continue
            rule = self._scope().rule_for(name)
            platforms = rule.wanted_platforms if rule is not None else ()
            states = {str(image.tag): image for image in self._store.ledger.images(name)}
            for tag in page.items:
                whole = self._store.registry.closure(name, tag.digest, platforms)
                state = states.get(tag.name)
                rows.append(
                    {
                        "repository": name,
                        "tag": tag.name,
                        "digest": tag.digest,
                        "mediaType": tag.media_type,
                        "bytes": sum(size for _, size in whole.blobs),
                        "complete": whole.complete,
                        "origin": tag.origin,
                        "confirmedAt": tag.confirmed_at.isoformat() if tag.confirmed_at else None,
                        "state": state.state if state is not None else None,
                    }
                )
            if page.next is not None or len(rows) >= wanted.limit:
                token = f"{name}:{rows[-1]['tag']}" if rows else None
                return {"images": rows, "continuationToken": token}
        return {"images": rows, "continuationToken": None}

    def _repositories(self, only: str | None, start: str) -> list[RepositoryName]:
        if only is not None:
            return [RepositoryName(only)]
        page = self._store.registry.list_repositories(None, None, lambda _: True)
        return [RepositoryName(name) for name in page.items if name >= start]

    async def list_uploads(self, wanted: payloads.ListUploads) -> Answer:
        """One page of what waits to go up to the parent, in order."""
        outgoing = self._store.outgoing
        page = await asyncio.to_thread(outgoing.page, wanted.after, wanted.limit)
        ttl = self._message_ttl()
        now = datetime.now(UTC)
        return {
            "uploads": [
                {
                    "sequence": entry.sequence,
                    "kind": entry.kind.value,
                    "repository": entry.repository,
                    "tag": entry.tag,
                    "digest": entry.digest,
                    "queuedAt": entry.queued_at.isoformat(),
                    "state": "failed" if entry.is_failed(now, ttl) else "waiting",
                    "attempts": entry.attempts,
                    "reason": entry.reason,
                    "detail": entry.detail,
                }
                for entry in page.items
            ],
            "next": int(page.next) if page.next is not None else None,
        }

    async def check_images(self, wanted: payloads.CheckImages) -> Answer:
        """Per image: whether it can be pulled with the link down, and why not."""
        images = [ImageName.parse(text) for text in wanted.images]
        platform = Platform.parse(wanted.platform) if wanted.platform else None
        verdicts = await asyncio.to_thread(
            lambda: [self._explainer().check(image, platform) for image in images]
        )
        return {"images": [verdict.to_json() for verdict in verdicts]}

    async def explain(self, wanted: payloads.Explain) -> Answer:
        """The one reason why an image is absent or old."""
        image = ImageName.parse(wanted.image)
        found: Answer = await asyncio.to_thread(lambda: self._explainer().explain(image).to_json())
        return found

    async def find_run(self, correlation_id: str) -> Answer | None:
        """A sync that no method started, or one of an earlier process."""
        link = self._link()
        if link is not None and link.synchronizer.running == correlation_id:
            return {"status": "Running", "progress": link.synchronizer.progress().to_json()}
        last = link.synchronizer.last if link is not None else None
        if last is not None and last.correlation_id == correlation_id:
            return {"status": "Completed", "result": last.to_json()}
        for run in await asyncio.to_thread(self._store.ledger.runs, 100):
            if run.correlation_id == correlation_id and run.ended_at is not None:
                return {
                    "status": "Completed",
                    "result": {
                        "state": run.state.capitalize(),
                        "imagesFetched": run.images,
                        "bytesFetched": run.bytes_fetched,
                        "error": run.error,
                    },
                }
        return None
