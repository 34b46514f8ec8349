"""The composition root: every part of one replica, made here and joined by callables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from socket import gethostname
from typing import Any, Final

import structlog

from connected_registry import log
from connected_registry.app.access import access_rules, refuse_unguarded
from connected_registry.app.bundles import Bundles
from connected_registry.app.certificates import Certificates
from connected_registry.app.cleaning import Cleaning
from connected_registry.app.facts import Sources, gather
from connected_registry.app.freshness import TagsOfParent
from connected_registry.app.housekeeping import Housekeeping
from connected_registry.app.link import Link, ParentChoice
from connected_registry.app.local import LocalMethods
from connected_registry.app.measures import Measures
from connected_registry.app.notifications import Notifications
from connected_registry.app.operations import ReplicaOperations
from connected_registry.app.page import site_facts
from connected_registry.app.store import Store
from connected_registry.app.telemetry import SiteEvents, sync_event
from connected_registry.app.traffic import Traffic
from connected_registry.app.upkeep import Upkeep
from connected_registry.edge.acknowledgement import ACCEPTED, Outcome
from connected_registry.edge.configuration import Configuration
from connected_registry.edge.hub import HubClient, HubState
from connected_registry.edge.identity import WorkloadIdentity, find_identity
from connected_registry.edge.methods import MAX_HUB_ANSWER, METHODS, Methods
from connected_registry.edge.patch import Document
from connected_registry.edge.report import Reporter
from connected_registry.edge.reported import Facts, LoginServer
from connected_registry.edge.route import HubRoute
from connected_registry.edge.standalone import ReportedFile, TwinFile, read_document
from connected_registry.edge.tasks import Tasks
from connected_registry.edge.telemetry import Event
from connected_registry.edge.twin import MODEL_ID, Desired
from connected_registry.endpoint.access import Access
from connected_registry.endpoint.control import create_control
from connected_registry.endpoint.dispatch import create_endpoint
from connected_registry.endpoint.exposition import create_exposition
from connected_registry.endpoint.origin import Origins
from connected_registry.endpoint.page.facts import SiteFacts
from connected_registry.endpoint.page.site import StatusPage
from connected_registry.endpoint.services import EndpointServices, Pull
from connected_registry.errors import ConfigurationError
from connected_registry.metrics import CONTENT_TYPE, Metrics, edge_labels
from connected_registry.parent.explain import Circumstances, Explainer
from connected_registry.parent.memory import Memory
from connected_registry.parent.occasion import Trigger
from connected_registry.parent.sync import Orders
from connected_registry.policy.mode import Mode
from connected_registry.settings import Settings
from connected_registry.storage.content import ArtifactChange
from connected_registry.storage.outbox import Outbox, StoredEvent
from connected_registry.supervisor import JobStatus, Supervisor

DESIRED: Final = "desired"
"""Where the ledger keeps the last good desired document."""

_log = structlog.stdlib.get_logger(__name__)


def utc_now() -> datetime:
    """The clock of the real world."""
    return datetime.now(UTC)


class Replica:
    """One replica. `open` makes it answer methods; `start_jobs` keeps it in sync."""

    def __init__(self, settings: Settings, *, with_hub: bool = False) -> None:
        """``with_hub``: become the module that the environment names, if it names one."""
        self.settings = settings
        environ = settings.hub_environment if with_hub else {}
        self._identity = find_identity(environ)
        self._route = HubRoute.from_environment(environ)
        self._hub: HubClient | None = None
        self._opened = AsyncExitStack()
        self.measures = Measures(
            Metrics(labels=edge_labels(settings.hub_host, settings.device_id, settings.module_id))
        )
        self._supervisor: Supervisor | None = None
        self._link: Link | None = None
        self._twin_file: TwinFile | None = None
        self._under_way: dict[str, Outcome] = {}
        self._desired = Desired()
        self._last_activity: datetime | None = None

    async def open(self) -> None:
        """Open the data folder and put the configuration into force.

        Raises `FolderInUse`, `StorageError`, or `ConfigurationError` for a twin file that is
        wrong while no earlier one is known.
        """
        async with AsyncExitStack() as opening:
            store = await asyncio.to_thread(Store, self.settings.data, clock=utc_now)
            opening.push_async_callback(asyncio.to_thread, store.close)
            self.store = store
            key = await asyncio.to_thread(store.signing_key)
            audience = await asyncio.to_thread(store.identity)
            self.access = Access(
                access_rules(Desired(), self.settings.listen_address),
                key=key,
                audience=audience,
                clock=utc_now,
            )
            self.page = StatusPage(
                self._site, self._invoke, key=key, audience=audience, clock=utc_now
            )
            self.tasks = await opening.enter_async_context(Tasks(clock=utc_now))
            opening.push_async_callback(self._hang_up)
            self.reporter = Reporter(self._facts, self._deliver, clock=utc_now)
            self.configuration = Configuration(
                self._apply,
                tell=self.reporter.acknowledge,
                keep=self._keep,
                waiting_pushes=lambda: len(self.store.outgoing),
            )
            operations = ReplicaOperations(
                store,
                lambda: self._link,
                lambda: self.desired.scope,
                self._explainer,
                self.reporter.status,
                lambda: self.desired.sync.message_ttl,
            )
            self.upkeep = Upkeep(
                store,
                lambda: self._link,
                lambda: self.desired,
                clock=utc_now,
                tell=self._tell,
                announce=self._announce,
                changed=self._content_changed,
            )
            self.cleaning = Cleaning(store, lambda: self.desired, self.upkeep.collecting.remove)
            self.methods = Methods(self.upkeep.operations(operations.table()), self.tasks)
            bundles = Bundles(
                store,
                lambda: self.desired,
                self._memory,
                clock=utc_now,
                announce=self._announce,
                room=self.upkeep.storing,
            )
            self.local = LocalMethods(bundles.table(), self.tasks, self._invoke)
            self.housekeeping = Housekeeping(store)
            opening.push_async_callback(self.housekeeping.close)
            self.certificates = Certificates(
                self.settings.tls,
                self.settings.certificates,
                self._identity.workload if isinstance(self._identity, WorkloadIdentity) else None,
                self._certificate_host(),
                clock=utc_now,
            )
            outbox = await asyncio.to_thread(Outbox, store.database)
            self.events = SiteEvents(
                self._emit, lambda: self.desired.telemetry, self._bytes_from_parent, utc_now
            )
            self.notifications = Notifications(
                lambda: self.desired.notifications, self._tell, site=self.site, clock=utc_now
            )
            store.registry.told = self._in_loop(self._changed)
            if self._identity is not None:
                self._hub = HubClient(
                    self._identity,
                    on_desired=self.configuration.receive,
                    invoke=self._invoke_from_hub,
                    outbox=outbox,
                    model_id=MODEL_ID,
                    route=self._route,
                )
            self.traffic = await asyncio.to_thread(
                Traffic, store.ledger, self._bytes_from_parent, utc_now
            )
            opening.push_async_callback(self.traffic.save)
            self._tags_of_parent = TagsOfParent(store.ledger, lambda: self._link)
            await self._configure()
            self._opened = opening.pop_all()

    async def close(self) -> None:
        """Let go of everything in reverse order."""
        await self._opened.aclose()

    @property
    def site(self) -> str:
        """What this replica is called."""
        connection = self.settings.connection
        device = self.settings.device_id
        return connection.registry_name if connection is not None else device or gethostname()

    @property
    def desired(self) -> Desired:
        """The configuration in force."""
        return self._desired

    def endpoint(self) -> Any:
        """The registry as an ASGI application."""
        services = EndpointServices(
            registry=self.store.registry,
            uploads=self.store.uploads,
            access=self.access,
            origins=Origins(self.settings.login_server, self.settings.trusted_proxies),
            mode=lambda: self.desired.mode,
            health=self._health,
            usage=self._used,
            freshness=self._tags_of_parent,
            page=self.page,
            sparse_pushes=self.settings.sparse_pushes == "accept",
        )
        return create_endpoint(services)

    def exposition(self) -> Any:
        """The Prometheus page's ASGI application."""
        return create_exposition(self._render_metrics, CONTENT_TYPE)

    def control(self) -> Any:
        """The control socket's ASGI application."""
        return create_control(self.local.invoke)

    def refuse_unguarded(self) -> None:
        """Raise `ConfigurationError` when nobody could come in, and no hub will change that."""
        if self._hub is None:
            refuse_unguarded(self.desired, self.settings.listen_address)

    def start_jobs(self, supervisor: Supervisor) -> None:
        """Begin everything that goes on in the background."""
        self._supervisor = supervisor
        supervisor.start("sync", lambda: self._keep_linked(lambda link: link.scheduler.run()))
        supervisor.start("uplink", lambda: self._keep_linked(lambda link: link.uplink.run()))
        supervisor.start("housekeeping", self.housekeeping.run)
        supervisor.start("collection", self.upkeep.collect)
        supervisor.start("cleaning", self.cleaning.run)
        supervisor.start("verification", self.upkeep.verify)
        supervisor.start("storage", self.upkeep.watch)
        supervisor.start("traffic", self.traffic.run)
        if self.certificates.context is not None:
            supervisor.start("certificates", self.certificates.run)
        if self._twin_file is not None:
            supervisor.start("twin", self._twin_file.run)
        if self._hub is not None:
            supervisor.start("hub", self._hub.run)
            supervisor.start("telemetry", self.events.run)
        if self._hub is not None or self.settings.reported is not None:
            supervisor.start("report", self.reporter.run)

    async def _configure(self) -> None:
        kept = await asyncio.to_thread(self.store.ledger.get, DESIRED)
        version = None
        if isinstance(kept, dict):
            version = kept.get("version")
            await self.configuration.restore(kept["document"], version)
        if self.settings.twin is None or self._hub is not None:
            if kept is None:
                await self.configuration.restore({}, None)
            return
        if kept is None:
            await asyncio.to_thread(self._check_twin_file)
        self._twin_file = TwinFile(
            self.settings.twin,
            self.configuration.receive,
            self.configuration.refuse,
            version=version or 0,
        )
        await self._twin_file.check(patient=False)

    def _check_twin_file(self) -> None:
        """Nothing is in force yet, so there is nothing to go on with: say what is wrong."""
        assert self.settings.twin is not None
        try:
            content = self.settings.twin.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                "--twin", str(self.settings.twin), f"the file cannot be read: {error.strerror}"
            ) from None
        Desired.parse(read_document(content))

    async def _apply(self, desired: Desired) -> Mapping[str, Outcome]:
        """Put a checked configuration into force. The last step of every change."""
        self._under_way = {}
        choice = ParentChoice.of(self.settings, desired)
        log.set_level(desired.logging.log_level.value)
        self.access.configure(access_rules(desired, self.settings.listen_address))
        known = self._link.choice if self._link is not None else None
        if choice != known:
            await self._hang_up()
            if choice is not None:
                self._link = Link(
                    choice,
                    self.store,
                    orders=self._orders,
                    clock=utc_now,
                    announce=self._announce,
                    site=self.site,
                    room=self.upkeep.storing,
                )
        before, self._desired = self._desired, desired
        # Whatever was accepted for the parent goes up, also from a replica that takes no more.
        self.store.outgoing.recording = desired.mode is Mode.READ_WRITE and choice is not None
        if self._link is not None:
            self._link.uplink.hurry()
            news = before.scope != desired.scope or choice != known
            self._link.scheduler.changed(Trigger.SCOPE if news else None)
            if news and desired.scope.repositories:
                self._under_way = {"scope": Outcome(ACCEPTED, "syncing")}
        return self._under_way

    async def _keep(self, document: Document, version: int | None) -> None:
        await asyncio.to_thread(
            self.store.ledger.put, DESIRED, {"document": document, "version": version}
        )

    def _orders(self) -> Orders:
        desired = self.desired
        return Orders(desired.scope, desired.sync, desired.mode)

    def _memory(self) -> Memory:
        """What syncs remember. Reads the database where there is no parent."""
        link = self._link
        if link is not None:
            return link.synchronizer.memory
        return Memory(self.store.ledger, utc_now)

    def _explainer(self) -> Explainer:
        """Reads the database: call it in a thread."""
        link, store = self._link, self.store
        return Explainer(
            self.desired.scope,
            store.registry,
            store.ledger,
            self._memory(),
            link.circumstances() if link is not None else Circumstances(),
        )

    async def _keep_linked(self, job: Callable[[Link], Coroutine[Any, Any, None]]) -> None:
        """Run a job of whichever parent is in force, and that of the next when it changes."""
        while True:
            link = self._link
            if link is None:
                await asyncio.sleep(1)
                continue
            await link.until_closed(job(link))

    async def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _announce(self, event: str, facts: dict[str, Any]) -> None:
        """Take note of what the synchronizer did."""
        self._last_activity = utc_now()
        self.reporter.touch()
        if event == "syncCompleted":
            self.cleaning.synced()
        if event == "syncCompleted" and self._under_way:
            # Emptied in place: an acknowledgement on its way may hold the same mapping.
            self._under_way.clear()
            self.configuration.progress({})
        self._tags_of_parent.forget()
        if event in {"imageAvailable", "imageRemoved"}:
            self.housekeeping.content_changed()
            self.notifications.synced(event, facts, self.store.registry)
        if event in {"syncCompleted", "syncFailed"} and self._link is not None:
            self.measures.synced(self._link)
        last = self._link.synchronizer.last if self._link is not None else None
        if self._hub is not None and (told := sync_event(event, facts, last)) is not None:
            self.events.synced(told)

    @staticmethod
    def _in_loop(told: Callable[[ArtifactChange], None]) -> Callable[[ArtifactChange], None]:
        """The same for callers in other threads, who do not wait."""
        loop = asyncio.get_running_loop()

        def tell(change: ArtifactChange) -> None:
            with suppress(RuntimeError):  # the loop ended before this thread did
                loop.call_soon_threadsafe(told, change)

        return tell

    def _changed(self, change: ArtifactChange) -> None:
        """Take note of what a client pushed or deleted."""
        self._last_activity = utc_now()
        self._content_changed()
        self.notifications.changed(change)

    def _tell(self, event: Event) -> None:
        """An event of the storage."""
        self.reporter.touch()
        if self._hub is not None:
            self.events.happened(event)

    def _content_changed(self) -> None:
        self.reporter.touch()
        self.housekeeping.content_changed()

    def _used(self, pull: Pull) -> None:
        self._last_activity = utc_now()
        self.upkeep.pulled(pull)
        self.traffic.served(pull.bytes)
        self.measures.pulled(pull)
        if self._hub is not None:
            self.events.pulled(pull)

    def _bytes_from_parent(self) -> int:
        return self._link.bytes_received if self._link is not None else 0

    async def _emit(self, event: StoredEvent) -> None:
        assert self._hub is not None
        await self._hub.emit(event)

    async def _invoke(
        self, name: str, payload: Any, max_answer: int | None = None
    ) -> tuple[int, Any]:
        status, body = await self.methods.invoke(name, payload, max_answer=max_answer)
        self.measures.method(name if name in METHODS else "unknown", status)
        return status, body

    async def _invoke_from_hub(self, name: str, payload: Any) -> tuple[int, Any]:
        return await self._invoke(name, payload, MAX_HUB_ANSWER)

    async def _render_metrics(self) -> bytes:
        self.measures.refresh(await self._facts(), self._link, self._jobs)
        return self.measures.metrics.render()

    async def _facts(self) -> Facts:
        facts = await gather(
            Sources(
                store=self.store,
                link=lambda: self._link,
                desired=lambda: self.desired,
                jobs=lambda: self._jobs,
                login_server=self._login_server,
                last_activity=lambda: self._last_activity,
                upkeep=self.upkeep.details,
                hub=self._hub_state,
                clock=utc_now,
            )
        )
        if self._hub is not None:
            description = "; ".join(detail.description for detail in facts.status_details)
            self.events.state(facts.connection_state, description)
        return facts

    async def _site(self) -> SiteFacts:
        return await site_facts(
            await self._facts(),
            store=self.store,
            link=self._link,
            desired=self.desired,
            traffic=self.traffic,
            actions=self.methods.available,
            now=utc_now(),
        )

    def _hub_state(self) -> HubState | None:
        return self._hub.state if self._hub is not None else None

    @property
    def _jobs(self) -> tuple[JobStatus, ...]:
        return self._supervisor.jobs if self._supervisor is not None else ()

    def _login_server(self) -> LoginServer | None:
        host = self.settings.login_server or str(self.settings.listen_address)
        return LoginServer(host=host, tls=self.certificates.tls)

    def _certificate_host(self) -> str:
        server = self.settings.login_server
        return self.settings.tls_host or (
            server.rpartition(":")[0] or server if server else "localhost"
        )

    def _health(self) -> Mapping[str, Any]:
        """A hub that is away is no fault of ours; an SDK that hangs only a new process mends."""
        hub = self._hub_state()
        stuck = hub is not None and hub.stuck_since is not None
        facts: dict[str, Any] = {
            "healthy": all(job.healthy for job in self._jobs) and not stuck,
            "jobs": {
                job.name: {"state": job.state.value, "error": job.error} for job in self._jobs
            },
        }
        if hub is not None:
            facts["hub"] = {"connected": hub.connected, "stuck": stuck, "error": hub.last_error}
        return facts

    async def _deliver(self, patch: Document, document: Document) -> None:
        if self._hub is not None:
            self._hub.report(document)
        if self.settings.reported is not None:
            await ReportedFile(self.settings.reported).write(patch, document)
