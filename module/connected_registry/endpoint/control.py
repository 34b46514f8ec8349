"""The control socket's application: direct methods for the command line on this machine."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from connected_registry.endpoint.answer import answer_error, answer_json
from connected_registry.endpoint.body import Body
from connected_registry.errors import AddressUnknown, RegistryError, RequestInvalid, Unsupported

MAX_PAYLOAD: Final = 1024 * 1024

Invoke = Callable[[str, dict[str, Any]], Awaitable[tuple[int, dict[str, Any]]]]
"""Runs a direct method by name; never raises."""

_PREFIX: Final = "/methods/"


def create_control(invoke: Invoke) -> ASGIApp:
    """``POST /methods/<name>`` with a JSON object gives ``{"status": ..., "body": ...}``.

    Whoever can open the socket may do everything: it lies in the data folder, which is private.
    """

    async def control(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            name = _method_name(request)
            payload = await _payload(request)
            status, body = await invoke(name, payload)
            response = answer_json({"status": status, "body": body})
        except ClientDisconnect:
            return
        except RegistryError as error:
            response = answer_error(error)
            response.headers["Connection"] = "close"
        await response(scope, receive, send)

    return control


def _method_name(request: Request) -> str:
    path = request.scope["path"]
    if not path.startswith(_PREFIX) or "/" in path[len(_PREFIX) :] or path == _PREFIX:
        raise AddressUnknown
    if request.method != "POST":
        raise Unsupported(headers={"Allow": "POST"})
    return str(path[len(_PREFIX) :])


async def _payload(request: Request) -> dict[str, Any]:
    body = Body(request.scope, request.receive)
    content = await body.read(MAX_PAYLOAD, RequestInvalid("the payload is too long"))
    try:
        payload = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise RequestInvalid("the payload is not JSON") from None
    if not isinstance(payload, dict):
        raise RequestInvalid("the payload is not a JSON object")
    return payload
