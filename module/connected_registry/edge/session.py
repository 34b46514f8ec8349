"""One session with the hub over azure-iot-device 2.14: the only file that meets the SDK.

One SDK client is one session, because the SDK's own way of reconnecting ends connected but deaf,
hung or dead in several ways. Hence: its retries are switched off, each call has a limit of ours,
its futures are never cancelled while they may still be answered, setters that block until the hub
confirms run in a thread, and its handlers only hop to our loop.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from azure.iot.device import Message, MethodRequest, MethodResponse, ProxyOptions
from azure.iot.device import exceptions as sdk_errors
from azure.iot.device.aio import IoTHubModuleClient
from paho.mqtt import client as mqtt  # type: ignore[import-untyped]

from connected_registry.edge.destination import Destination, Limits, MethodCall
from connected_registry.edge.identity import AccessToken
from connected_registry.edge.outbox import OUTPUT
from connected_registry.edge.patch import Document
from connected_registry.edge.probe import probe
from connected_registry.edge.side_loop import SideLoop
from connected_registry.errors import EdgeError, HubLost, HubRefused
from connected_registry.storage.outbox import StoredEvent

T = TypeVar("T")

_STATUS: Final = re.compile(r"status (\d{3})")
_log = structlog.stdlib.get_logger(__name__)


class HubSdk:
    """The SDK in its own thread; makes one client at a time and knows when it is stuck.

    All clients of a process share one worker inside the SDK. When that hangs, making a client
    hangs: no further one is then begun, and `stuck_since` says so until it returns.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.stuck_since: datetime | None = None
        self._clock = clock
        self._side = SideLoop("hub")
        self._making: asyncio.Future[IoTHubModuleClient] | None = None

    def start(self) -> None:
        """Start the thread."""
        _mend_paho()
        self._side.start()

    def stop(self) -> None:
        """End the thread."""
        self._side.stop()

    async def open_session(
        self,
        destination: Destination,
        *,
        expires: datetime,
        limits: Limits,
        on_patch: Callable[[Document], None],
        on_method: Callable[[HubSession, MethodCall], None],
    ) -> HubSession:
        """Connect and subscribe; both callbacks run on the caller's loop. Raise `EdgeError`."""
        token = await destination.identity.token(expires)
        trusted_ca = await destination.identity.trusted_ca()
        await probe(destination, trusted_ca, limits.call)
        client = await self.make(destination, token, trusted_ca, limits)
        session = HubSession(self, client, destination, limits)
        try:
            await session.connect(on_patch, on_method)
        except BaseException:
            await session.close()
            raise
        return session

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """See `SideLoop.submit`."""
        return self._side.submit(work)

    async def make(
        self, destination: Destination, token: AccessToken, trusted_ca: str | None, limits: Limits
    ) -> IoTHubModuleClient:
        """A client that is not connected yet. Raise `HubLost` when the SDK is stuck."""
        if self._making is not None:
            self._discard(await self._made(self._making, limits.make))

        def create() -> IoTHubModuleClient:
            return _create(destination, token, trusted_ca, limits)

        async def work() -> IoTHubModuleClient:
            return await asyncio.get_running_loop().run_in_executor(None, create)

        self._making = self._side.submit(work)
        client = await self._made(self._making, limits.make)
        self._making = None
        return client

    async def _made(
        self, making: asyncio.Future[IoTHubModuleClient], limit: timedelta
    ) -> IoTHubModuleClient:
        began = self._clock()
        await asyncio.wait({making}, timeout=limit.total_seconds())
        if not making.done():
            if self.stuck_since is None:
                self.stuck_since = began
                _log.error("hub.sdk_stuck", since=began.isoformat())
            raise HubLost(f"the hub SDK has not answered since {self.stuck_since.isoformat()}")
        self.stuck_since = None
        self._making = None
        try:
            return making.result()
        except Exception as error:
            raise HubLost(f"the hub SDK made no client: {_reason(error)}") from error

    def _discard(self, client: IoTHubModuleClient) -> None:
        self._side.submit(client.shutdown)


class HubSession:
    """A connected client. Every method raises `HubLost` once the session is over."""

    def __init__(
        self, sdk: HubSdk, client: IoTHubModuleClient, destination: Destination, limits: Limits
    ) -> None:
        self._sdk = sdk
        self._client = client
        self._destination = destination
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._why = "the connection was lost"
        self._up = False
        self._unanswered: set[asyncio.Future[Any]] = set()

    async def connect(
        self,
        on_patch: Callable[[Document], None],
        on_method: Callable[[HubSession, MethodCall], None],
    ) -> None:
        """Connect and subscribe; both callbacks run on the loop that made the session."""
        client = self._client

        async def patched(patch: Document) -> None:
            self._hop(on_patch, patch)

        async def called(request: MethodRequest) -> None:
            call = MethodCall(request.request_id, request.name, request.payload)
            self._hop(on_method, self, call)

        async def watch() -> None:
            # Before connecting, or the events are dropped.
            client.on_connection_state_change = self._state_changed  # type: ignore[assignment]
            client.on_background_exception = self._failed

        def subscribe() -> None:
            client.on_twin_desired_properties_patch_received = patched
            client.on_method_request_received = called

        async def subscribed() -> None:
            await asyncio.get_running_loop().run_in_executor(None, subscribe)

        await self._call(watch, "start")
        await self._call(client.connect, "let us connect", self._limits.connect)
        self._up = True
        await self._call(subscribed, "confirm subscriptions")

    async def ended(self, seconds: float) -> None:
        """Return after that long; raise `HubLost` as soon as the session is lost."""
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            return
        raise HubLost(self._why)

    async def twin(self) -> dict[str, Document]:
        """Both halves, ``desired`` and ``reported``, with ``$version`` where the hub knows one."""
        twin = await self._call(self._client.get_twin, "read the twin")
        halves = {half: twin.get(half) for half in ("desired", "reported")}
        return {half: value if isinstance(value, dict) else {} for half, value in halves.items()}

    async def report(self, patch: Document) -> None:
        """Change the reported properties; raise `HubRefused` when the hub does not take it."""
        await self._call(
            lambda: self._client.patch_twin_reported_properties(patch), "take reported properties"
        )

    async def send(self, event: StoredEvent) -> None:
        """Return when the hub has acknowledged the event."""
        message = Message(  # type: ignore[no-untyped-call]
            event.body.encode(),
            message_id=event.id,
            content_encoding="utf-8",
            content_type="application/json",
        )
        message.custom_properties = {"event": event.name, "severity": event.severity}
        await self._call(
            lambda: self._client.send_message_to_output(message, OUTPUT), "take an event"
        )

    async def answer(self, call: MethodCall, status: int, body: Any) -> None:
        """Answer a direct method."""
        response = MethodResponse(call.id, status, body)
        await self._call(
            lambda: self._client.send_method_response(response), "take a method's answer"
        )

    async def close(self) -> None:
        """End the session, within the limit; what is not answered then never will be."""
        self._lost.set()
        closing = self._sdk.submit(self._client.shutdown)
        await asyncio.wait({closing}, timeout=self._limits.close.total_seconds())
        if not closing.done():
            _log.warning("hub.close_hangs")
            return
        for future in self._unanswered:
            future.cancel()

    async def _call(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        what: str,
        limit: timedelta | None = None,
    ) -> T:
        if self._lost.is_set():
            raise HubLost(self._why)
        seconds = (limit or self._limits.call).total_seconds()
        future = self._sdk.submit(work)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            either: set[asyncio.Future[Any]] = {future, lost}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            if not future.done():
                self._unanswered.add(future)
        if future.done():
            try:
                return future.result()
            except Exception as error:
                raise _translated(error, self._destination) from error
        if self._lost.is_set():
            raise HubLost(self._why)
        raise HubLost(f"the hub did not {what} within {seconds:g} s")

    async def _state_changed(self) -> None:
        if not self._client.connected:
            self._hop(self._lose, None)

    async def _failed(self, error: Exception) -> None:
        self._hop(self._lose, _reason(error))

    def _lose(self, why: str | None) -> None:
        if self._up and not self._lost.is_set():
            if why is not None:
                self._why = f"the connection was lost: {why}"
            self._lost.set()

    def _hop(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


def _mend_paho() -> None:
    """Let paho 1.6 take every error of a socket for the end of the connection.

    It knows `ConnectionError` only. Any other, such as "no route to host" or a broken TLS record,
    ends its thread without a word: the client is deaf, and shutting it down never returns.
    """
    for name in ("_sock_recv", "_sock_send"):
        original = getattr(mqtt.Client, name)
        if not hasattr(original, "__wrapped__"):
            setattr(mqtt.Client, name, _with_plain_errors(original))


def _with_plain_errors(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def mended(*arguments: Any) -> Any:
        try:
            return original(*arguments)
        except (BlockingIOError, ConnectionError):
            raise
        except OSError as error:
            raise ConnectionResetError(str(error)) from error

    return mended


def _create(
    destination: Destination, token: AccessToken, trusted_ca: str | None, limits: Limits
) -> IoTHubModuleClient:
    options: dict[str, Any] = {
        "auto_connect": False,
        "connection_retry": False,
        "ensure_desired_properties": False,
        "keep_alive": max(1, int(limits.keep_alive.total_seconds())),
        "product_info": destination.model_id,
        "websockets": destination.route.websockets,
    }
    if destination.identity.gateway is not None:
        options["gateway_hostname"] = destination.identity.gateway
    if trusted_ca is not None:
        options["server_verification_cert"] = trusted_ca
    if (proxy := destination.route.proxy) is not None:
        options["proxy_options"] = ProxyOptions(  # type: ignore[no-untyped-call]
            proxy.kind,
            proxy.host,
            proxy.port,
            proxy.user,
            None if proxy.password is None else proxy.password.get_secret_value(),
        )
    return IoTHubModuleClient.create_from_sastoken(token.text.get_secret_value(), **options)


def _translated(error: BaseException, destination: Destination) -> EdgeError:
    cause = error.__cause__
    if isinstance(cause, sdk_errors.ServiceError):
        status = _STATUS.search(str(cause))
        return HubRefused(f"the hub answered: {cause}", int(status[1]) if status else 500)
    if isinstance(error, sdk_errors.CredentialError):
        who = f"{destination.identity.device}/{destination.identity.module}"
        return HubLost(f"{destination} refused {who}: check its key and this machine's clock")
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in _causes(error)):
        return HubLost(f"the certificate of {destination} is not trusted: {_reason(error)}")
    if isinstance(error, sdk_errors.ConnectionFailedError):
        return HubLost(f"cannot connect to {destination}: {_reason(error)}")
    return HubLost(f"the session with {destination} failed: {_reason(error)}")


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    return chain


def _reason(error: BaseException) -> str:
    """The innermost text: the SDK's own sentences say nothing."""
    for each in reversed(_causes(error)):
        if text := " ".join(str(each).split()):
            return text
    return type(error).__name__
