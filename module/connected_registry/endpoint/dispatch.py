"""The registry endpoint as one ASGI application.

Every request takes the same way: address -> target -> route -> mode -> caller -> permission ->
handler -> answer; whatever goes wrong on it becomes one error in one form.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from connected_registry.endpoint.access import Principal, needed
from connected_registry.endpoint.answer import COMMON, answer_error, challenge
from connected_registry.endpoint.body import Body
from connected_registry.endpoint.origin import Origin
from connected_registry.endpoint.prompt import Prompt
from connected_registry.endpoint.query import Query
from connected_registry.endpoint.routes import Gate, Route, find_route
from connected_registry.endpoint.services import Call, EndpointServices
from connected_registry.endpoint.target import Resource, Target, parse_target
from connected_registry.endpoint.zero_copy import Senders
from connected_registry.errors import (
    DiskFull,
    InsufficientStorage,
    OperationNotAllowed,
    RegistryError,
    StorageError,
    Unauthorized,
    Unavailable,
)
from connected_registry.policy.mode import Mode

_EVENTS: Final = logging.getLogger(__name__)
_log = structlog.stdlib.get_logger(__name__)


def create_endpoint(services: EndpointServices) -> Endpoint:
    """The application."""
    return Endpoint(services)


class Endpoint:
    """Answers requests with ``services``."""

    def __init__(self, services: EndpointServices) -> None:
        self._services = services
        self.prompt = Prompt(services)
        """For the connection: what it may answer without starting a task."""
        self.senders = Senders()
        """For the connection: the threads that send files."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Never raises for what a client sends or for a failure behind."""
        if scope["type"] != "http":
            return
        if _EVENTS.isEnabledFor(logging.DEBUG):
            send = _log_answer(scope, send)
        body = Body(scope, receive)
        try:
            response = await self._answer(Request(scope, receive), body)
            settled = await body.settle()
        except ClientDisconnect:
            return
        response.raw_headers.extend(COMMON)
        if settled:
            await response(scope, receive, send)
            return
        response.headers["Connection"] = "close"
        await response(scope, receive, _without_end(send))
        await body.linger()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, request: Request, body: Body) -> Response:
        try:
            return await self._handle(request, body)
        except ClientDisconnect:
            raise
        except RegistryError as error:
            return answer_error(error)
        except DiskFull as error:
            _log.warning("http.disk_full", error=str(error))
            return answer_error(InsufficientStorage())
        except StorageError as error:
            _log.error("http.storage_failed", error=str(error))
            return answer_error(Unavailable("the store cannot be used at the moment"))
        except Exception:
            _log.exception("http.failed", method=request.method, path=request.url.path[:300])
            return answer_error(RegistryError())

    async def _handle(self, request: Request, body: Body) -> Response:
        services, scope = self._services, request.scope
        body.check()
        target = parse_target(scope["raw_path"])
        query = Query.parse(scope["query_string"])
        route = find_route(target.resource, request.method)
        # Health is asked by whoever watches over the process, under any name.
        probed = target.resource is Resource.HEALTH
        origin = services.origins.of(scope, any_host=probed)
        if route.changes_content and services.mode() is Mode.READ_ONLY:
            raise OperationNotAllowed
        try:
            principal = await self._admit(route, target, origin, request)
            call = Call(request, body, origin, target, query, principal, services)
            return await route.handler(call)
        except Unauthorized as error:
            raise _challenged(error, route, target, origin) from None

    async def _admit(
        self, route: Route, target: Target, origin: Origin, request: Request
    ) -> Principal:
        """The caller, once it is allowed what the route needs."""
        access = self._services.access
        headers = () if route.need is Gate.NOTHING else request.scope["headers"]
        principal = await access.authenticate(headers, origin.client)
        match route.need:
            case Gate.NOTHING | Gate.ANYONE:
                pass
            case Gate.PRESENCE:
                access.authorise_presence(principal)
            case Gate.CATALOG:
                access.authorise_catalog(principal)
            case action:
                assert target.repository is not None
                access.authorise(principal, action, target.repository)
        return principal


def _challenged(error: Unauthorized, route: Route, target: Target, origin: Origin) -> Unauthorized:
    """The same refusal with the header that says where and for what to get a token."""
    if target.resource is Resource.TOKEN:
        error.headers = {"WWW-Authenticate": f'Basic realm="{origin.host}"', **error.headers}
        return error
    if error.detail is None and target.repository is not None and not isinstance(route.need, Gate):
        error.detail = [needed(route.need, target.repository)]
    error.headers = {"WWW-Authenticate": challenge(error, origin), **error.headers}
    return error


def _without_end(send: Send) -> Send:
    """``send`` that leaves the answer open after its last byte."""

    async def open_ended(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "more_body": True}
        await send(message)

    return open_ended


def _log_answer(scope: Scope, send: Send) -> Send:
    """``send``, which also notes each finished answer, without queries: they may be secrets."""
    begun = time.perf_counter()
    status = 0
    sent = 0

    async def noting(message: Message) -> None:
        nonlocal status, sent
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            sent += len(message.get("body", b""))
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            _log.debug(
                "http.request",
                method=scope["method"],
                path=scope["path"][:300],
                status=status,
                bytes=sent,
                seconds=round(time.perf_counter() - begun, 4),
                client=scope["client"][0] if scope.get("client") else None,
            )

    return noting
