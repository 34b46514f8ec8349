"""The cloud side: IoT Hub's REST paths for twins and methods, and what modules sent.

::

    GET, PATCH, PUT  /twins/{device}/modules/{module}
    POST             /twins/{device}/modules/{module}/methods   {"methodName", "payload", ...}
    GET              /messages/events          a stream of server-sent events
    GET              /messages/events?after=N&wait=SECONDS      a page, by long poll
    GET, PATCH       /faults/{device}/{module}     {"stall": true} ... (ours, see faults.py)
    POST             /restart                      {"loseSessions": true} (ours)

``api-version`` is taken and ignored. IoT Hub has events on an AMQP endpoint only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local_hub.faults import Faults
from local_hub.module import CallError, Module
from local_hub.section import SectionError
from local_hub.telemetry import Journal

MAX_BODY: Final = 256 * 1024
MAX_WAIT: Final = 60


class HubControl(Protocol):
    """What the service needs of the hub."""

    journal: Journal

    def find(self, path: str) -> Module | None:
        """The module with this ``device/module``."""

    async def restart(self, *, lose_sessions: bool = False) -> None:
        """End all connections, and be back at once."""


class ServiceError(Exception):
    """An answer in IoT Hub's form: a status and ``{"Message": "ErrorCode:...;..."}``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"ErrorCode:{code};{message}")
        self.status = status


def create_service(hub: HubControl) -> Starlette:
    """The ASGI application."""
    service = _Service(hub)
    twin = "/twins/{device}/modules/{module}"
    faults = "/faults/{device}/{module}"
    return Starlette(
        routes=[
            _route(twin, "GET", service.read_twin),
            _route(twin, "PATCH", service.patch_twin),
            _route(twin, "PUT", service.replace_twin),
            _route(twin + "/methods", "POST", service.invoke),
            _route("/messages/events", "GET", service.events),
            _route(faults, "GET", service.read_faults),
            _route(faults, "PATCH", service.patch_faults),
            _route("/restart", "POST", service.restart),
        ]
    )


class _Service:
    def __init__(self, hub: HubControl) -> None:
        self._hub = hub

    async def read_twin(self, request: Request) -> Response:
        return JSONResponse(_twin(self._module(request)))

    async def patch_twin(self, request: Request) -> Response:
        return await self._change_twin(request, Module.patch_desired)

    async def replace_twin(self, request: Request) -> Response:
        return await self._change_twin(request, Module.replace_desired)

    async def invoke(self, request: Request) -> Response:
        module, body = self._module(request), await _json(request)
        name = body.get("methodName")
        if not isinstance(name, str) or not 0 < len(name) <= 100:
            raise ServiceError(400, "ArgumentInvalid", "methodName must have 1 to 100 characters")
        try:
            status, payload = await module.invoke(
                name,
                body.get("payload"),
                response_timeout=_seconds(body, "responseTimeoutInSeconds", 30, 5),
                connect_timeout=_seconds(body, "connectTimeoutInSeconds", 0, 0),
            )
        except CallError as error:
            code = "DeviceNotOnline" if error.status == 404 else "GatewayTimeout"
            raise ServiceError(error.status, code, str(error)) from error
        return JSONResponse({"status": status, "payload": payload})

    async def events(self, request: Request) -> Response:
        after = _whole_number(request, "after")
        if "wait" not in request.query_params:
            return StreamingResponse(self._stream(after), media_type="text/event-stream")
        wait = min(_whole_number(request, "wait"), MAX_WAIT)
        try:
            async with asyncio.timeout(wait):
                page = await self._hub.journal.after(after)
        except TimeoutError:
            page = []
        last = page[-1].sequence if page else after
        return JSONResponse({"events": [event.document() for event in page], "after": last})

    async def read_faults(self, request: Request) -> Response:
        return JSONResponse(asdict(self._module(request).faults))

    async def patch_faults(self, request: Request) -> Response:
        module = self._module(request)
        try:
            module.faults = Faults.parse({**asdict(module.faults), **await _json(request)})
        except ValueError as error:
            raise ServiceError(400, "ArgumentInvalid", str(error)) from error
        return await self.read_faults(request)

    async def restart(self, request: Request) -> Response:
        body = await _json(request) if await request.body() else {}
        await self._hub.restart(lose_sessions=body.get("loseSessions") is True)
        return JSONResponse({})

    def _module(self, request: Request) -> Module:
        path = f"{request.path_params['device']}/{request.path_params['module']}"
        module = self._hub.find(path)
        if module is None:
            raise ServiceError(404, "ModuleNotFound", f"there is no module {path}")
        return module

    async def _change_twin(
        self, request: Request, change: Callable[[Module, object], int]
    ) -> Response:
        module, body = self._module(request), await _json(request)
        try:
            change(module, body["properties"]["desired"])
        except (KeyError, TypeError) as error:
            remedy = 'the body must be {"properties": {"desired": {...}}}'
            raise ServiceError(400, "ArgumentInvalid", remedy) from error
        except SectionError as error:
            raise ServiceError(400, "ArgumentInvalid", str(error)) from error
        return JSONResponse(_twin(module))

    async def _stream(self, after: int) -> AsyncIterator[str]:
        while True:
            for event in await self._hub.journal.after(after):
                after = event.sequence
                yield f"id: {after}\ndata: {json.dumps(event.document())}\n\n"


def _route(path: str, method: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except ServiceError as error:
            return JSONResponse({"Message": str(error)}, error.status)
        except (asyncio.CancelledError, ClientDisconnect):
            return JSONResponse({"Message": "ErrorCode:ServerBusy;stopping"}, 503)

    return Route(path, endpoint, methods=[method])


def _twin(module: Module) -> dict[str, Any]:
    return {
        "deviceId": module.device,
        "moduleId": module.name,
        "modelId": module.model_id or "",
        "connectionState": "Connected" if module.connected else "Disconnected",
        "properties": module.twin(),
    }


def _whole_number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not text.isdecimal():
        raise ServiceError(400, "ArgumentInvalid", f"{name} must be a whole number")
    return int(text)


def _seconds(body: dict[str, Any], key: str, default: int, least: int) -> float:
    value = body.get(key, default)
    if type(value) is not int or not least <= value <= 300:
        raise ServiceError(400, "ArgumentInvalid", f"{key} must be between {least} and 300")
    return float(value)


async def _json(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ServiceError(413, "RequestEntityTooLarge", f"more than {MAX_BODY} bytes")
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ServiceError(400, "ArgumentInvalid", "the body is not JSON") from error
    if not isinstance(document, dict):
        raise ServiceError(400, "ArgumentInvalid", "the body is not a JSON object")
    return document
