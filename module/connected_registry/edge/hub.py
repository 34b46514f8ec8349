"""The hub client: desired properties in, reported properties, events and method answers out.

It holds what must reach the hub, and opens one session after the other for as long as the module
runs. Whatever the hub does, nothing here ends the process or holds up the rest of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from connected_registry.edge.delta import ReportedDelta
from connected_registry.edge.destination import Destination, Limits, MethodCall
from connected_registry.edge.identity import HubIdentity
from connected_registry.edge.outbox import Outbox
from connected_registry.edge.patch import Document
from connected_registry.edge.route import HubRoute
from connected_registry.edge.sequence import DesiredSequence
from connected_registry.errors import EdgeError, HubRefused, StorageError
from connected_registry.storage.outbox import StoredEvent

if TYPE_CHECKING:
    from connected_registry.edge.session import HubSdk, HubSession

OnDesired = Callable[[Document, int], Awaitable[object]]
"""Takes a complete desired document without ``$`` keys, and its version."""
Invoke = Callable[[str, Any], Awaitable[tuple[int, Any]]]
"""Answers a direct method; see `connected_registry.edge.methods`."""

BATCH: Final = 50
"""Events read from the outbox at once."""
MAX_CALLS: Final = 16
"""Direct methods answered at the same time; further ones get 429."""
MAX_REFUSALS: Final = 3
"""Refusals that may pass, one after the other, before the session is given up."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the client does what."""

    first_delay: timedelta = timedelta(seconds=0.5)
    longest_delay: timedelta = timedelta(seconds=60)
    """Between two attempts to connect; doubled each time, with jitter."""
    report_every: timedelta = timedelta(seconds=1)
    settle: timedelta = timedelta(seconds=1)
    """After a desired patch the twin is read once: a replacement looks like a patch."""
    refresh: timedelta = timedelta(minutes=15)
    """The twin is read this often although nothing came, in case something was lost."""
    retry: timedelta = timedelta(seconds=5)
    """After a refusal that may pass, an unknown twin or a full disk."""
    idle: timedelta = timedelta(seconds=30)
    """The outbox is looked at this often without being told."""
    token_life: timedelta = timedelta(hours=24)
    """A session ends by itself at nine tenths of this, and a new one takes a new token."""


@dataclass(frozen=True, slots=True)
class HubState:
    """How it stands with the hub, for ``/healthz``, metrics and ``status``."""

    connected_since: datetime | None
    sessions: int
    last_error: str | None
    last_error_at: datetime | None
    stuck_since: datetime | None
    """Since when the SDK's worker hangs; only a new process helps when it stays so."""
    desired_version: int | None
    reported_settled: bool
    refused: tuple[str, ...]
    """Reported properties that the hub does not take."""

    @property
    def connected(self) -> bool:
        """Whether a session is open."""
        return self.connected_since is not None


class HubClient:
    """Run `run` as a supervised job; everything else may be called at any time on its loop."""

    def __init__(
        self,
        identity: HubIdentity,
        *,
        on_desired: OnDesired,
        invoke: Invoke,
        outbox: Outbox,
        model_id: str,
        route: HubRoute | None = None,
        limits: Limits | None = None,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._destination = Destination(identity, route or HubRoute(), model_id)
        self._on_desired = on_desired
        self._invoke = invoke
        self._outbox = outbox
        self._limits = limits or Limits()
        self._pace = pace or Pace()
        self._clock = clock
        self._jitter = jitter
        self._sequence = DesiredSequence()
        self._delta = ReportedDelta()
        self._report_due = asyncio.Event()
        self._event_due = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        self._sdk: HubSdk | None = None
        self._connected_since: datetime | None = None
        self._sessions = 0
        self._last_error: tuple[str, datetime] | None = None

    @property
    def state(self) -> HubState:
        """How it stands now."""
        text, at = self._last_error or (None, None)
        return HubState(
            connected_since=self._connected_since,
            sessions=self._sessions,
            last_error=text,
            last_error_at=at,
            stuck_since=None if self._sdk is None else self._sdk.stuck_since,
            desired_version=self._sequence.version,
            reported_settled=self._delta.settled,
            refused=self._delta.refused,
        )

    def report(self, document: Mapping[str, Any]) -> None:
        """Set what the reported properties should be, as a whole; the difference is sent."""
        self._delta.want(document)
        self._report_due.set()

    async def emit(self, event: StoredEvent) -> None:
        """Keep an event durably and send it when there is a hub. May raise `StorageError`."""
        await asyncio.to_thread(self._outbox.append, event)
        self.wake()

    def wake(self) -> None:
        """Say that there is something in the outbox."""
        self._event_due.set()

    async def run(self) -> None:
        """Keep a session open until cancelled."""
        sdk = await asyncio.to_thread(_load_sdk, self._clock)
        self._sdk = sdk
        sdk.start()
        try:
            await self._keep_connected(sdk)
        finally:
            for answer in self._answers:
                answer.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)
            await asyncio.to_thread(sdk.stop)

    async def _keep_connected(self, sdk: HubSdk) -> None:
        loop = asyncio.get_running_loop()
        delay = self._pace.first_delay
        while True:
            began = loop.time()
            try:
                await self._session(sdk)
            except EdgeError as error:
                self._note(error)
            else:
                delay = self._pace.first_delay
                continue
            if loop.time() - began > self._pace.longest_delay.total_seconds():
                delay = self._pace.first_delay
            await asyncio.sleep(delay.total_seconds() * (1 + self._jitter()) / 2)
            delay = min(delay * 2, self._pace.longest_delay)

    def _note(self, error: EdgeError) -> None:
        text = str(error)
        news = self._last_error is None or self._last_error[0] != text
        self._last_error = (text, self._clock())
        # A hub that is away for weeks is one line, not a hundred thousand.
        (_log.warning if news else _log.debug)("hub.session_ended", reason=text)

    async def _session(self, sdk: HubSdk) -> None:
        """One session; returns when its token is old, raises `EdgeError` when it is lost."""
        patches: asyncio.Queue[Document] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        renewal = loop.time() + self._pace.token_life.total_seconds() * 0.9
        session = await sdk.open_session(
            self._destination,
            expires=self._clock() + self._pace.token_life,
            limits=self._limits,
            on_patch=patches.put_nowait,
            on_method=self._take_call,
        )
        tasks: list[asyncio.Task[None]] = []
        try:
            twin = await session.twin()
            self._connected_since = self._clock()
            self._sessions += 1
            _log.info("hub.connected", hub=str(self._destination), session=self._sessions)
            self._delta.begin(twin["reported"])
            tasks += map(
                asyncio.create_task,
                (
                    self._configure(session, patches, twin["desired"]),
                    self._report(session),
                    self._send_events(session),
                    session.ended(renewal - loop.time()),
                ),
            )
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._connected_since = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await session.close()

    async def _configure(
        self, session: HubSession, patches: asyncio.Queue[Document], desired: Document
    ) -> None:
        loop = asyncio.get_running_loop()
        refusals = 0
        news = self._sequence.begin(desired)
        pause = self._pace.refresh if self._sequence.version is not None else self._pace.retry
        while True:
            if news:
                await self._deliver()
            try:
                async with asyncio.timeout_at(loop.time() + pause.total_seconds()):
                    patch = await patches.get()
            except TimeoutError:
                try:
                    twin = await session.twin()
                except HubRefused as refusal:
                    news, pause, refusals = False, self._pace.retry, refusals + 1
                    if refusals == MAX_REFUSALS:
                        raise
                    _log.warning("hub.twin_refused", status=refusal.status)
                    continue
                refusals = 0
                news = self._sequence.read(twin["desired"])
                self._delta.begin(twin["reported"])
                self._report_due.set()
                unsure = self._sequence.gap or self._sequence.version is None
                pause = self._pace.retry if unsure else self._pace.refresh
            else:
                news = self._sequence.patch(patch)
                pause = timedelta() if self._sequence.gap else self._pace.settle

    async def _deliver(self) -> None:
        version = self._sequence.version
        assert version is not None
        try:
            await self._on_desired(self._sequence.document, version)
        except Exception:
            _log.exception("hub.desired_failed", version=version)

    async def _report(self, session: HubSession) -> None:
        refusals = 0
        while True:
            self._report_due.clear()
            patch = self._delta.next_patch()
            if patch is None:
                await self._report_due.wait()
                continue
            pause = self._pace.report_every
            try:
                await session.report(patch)
            except HubRefused as refusal:
                if refusal.final:
                    if (key := self._delta.refuse(patch)) is not None:
                        _log.error("hub.report_refused", property=key, status=refusal.status)
                else:
                    refusals += 1
                    if refusals == MAX_REFUSALS:
                        raise
                    pause = self._pace.retry
            else:
                refusals = 0
                self._delta.accept(patch)
            await asyncio.sleep(pause.total_seconds())

    async def _send_events(self, session: HubSession) -> None:
        sent: list[str] = []
        try:
            while True:
                self._event_due.clear()
                try:
                    events = await asyncio.to_thread(self._next_events, sent)
                except StorageError as error:
                    _log.error("hub.outbox_failed", error=str(error))
                    await asyncio.sleep(self._pace.retry.total_seconds())
                    continue
                sent = []
                for event in events:
                    await session.send(event)
                    sent.append(event.id)
                if not events:
                    await self._wait_for_events()
        finally:
            if sent:
                await asyncio.to_thread(self._remove_quietly, sent)

    def _next_events(self, sent: Sequence[str]) -> Sequence[StoredEvent]:
        if sent:
            self._outbox.remove(sent)
        return self._outbox.peek(BATCH)

    def _remove_quietly(self, sent: Sequence[str]) -> None:
        try:
            self._outbox.remove(sent)
        except StorageError as error:
            _log.error("hub.outbox_failed", error=str(error))

    async def _wait_for_events(self) -> None:
        try:
            async with asyncio.timeout(self._pace.idle.total_seconds()):
                await self._event_due.wait()
        except TimeoutError:
            return

    def _take_call(self, session: HubSession, call: MethodCall) -> None:
        answer = asyncio.create_task(self._answer(session, call), name=f"method {call.name[:100]}")
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, session: HubSession, call: MethodCall) -> None:
        if len(self._answers) > MAX_CALLS:
            status, body = 429, {"error": f"more than {MAX_CALLS} methods at once"}
        else:
            try:
                status, body = await self._invoke(call.name, call.payload)
            except Exception as error:
                _log.exception("hub.method_failed", method=call.name[:100])
                status, body = 500, {"error": f"internal error ({type(error).__name__})"}
        try:
            await session.answer(call, status, body)
        except EdgeError as error:
            _log.warning("hub.answer_lost", method=call.name[:100], reason=str(error))


def _load_sdk(clock: Callable[[], datetime]) -> HubSdk:
    """Importing the SDK takes a good part of a second: late, and in a thread."""
    from connected_registry.edge.session import HubSdk

    return HubSdk(clock)
