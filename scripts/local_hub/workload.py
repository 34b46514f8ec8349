"""The workload API of IoT Edge, as the security daemon offers it to modules on a Unix socket."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_hub.authority import Authority
from local_hub.module import Module

API_VERSION: Final = "2022-08-03"
GENERATION: Final = "638000000000000000"
"""The one generation that every module of the local hub has."""


class ApiError(Exception):
    """An answer in the daemon's form: a status and ``{"message": ...}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class WorkloadFaults:
    """Switches that hold until they are flipped back."""

    status: int = 0
    """Answer everything with this status."""
    hang: bool = False
    """Take requests and never answer."""
    wrong_signature: bool = False
    """Sign with another key."""


class Workload:
    """The API as an ASGI application; ``calls`` lists every request's method and path."""

    def __init__(
        self,
        authority: Authority,
        find: Callable[[str], Module | None],
        *,
        certificate_life: timedelta = timedelta(days=30),
    ) -> None:
        self.faults = WorkloadFaults()
        self.calls: list[tuple[str, str]] = []
        self.certificate_life = certificate_life
        self._authority = authority
        self._find = find
        own = "/modules/{name}/genid/{generation}"
        self.app = Starlette(
            routes=[
                Route("/trust-bundle", self._answer(self._trust_bundle)),
                Route(own + "/sign", self._answer(self._sign), methods=["POST"]),
                Route(own + "/encrypt", self._answer(self._encrypt), methods=["POST"]),
                Route(own + "/decrypt", self._answer(self._decrypt), methods=["POST"]),
                Route(
                    own + "/certificate/server",
                    self._answer(self._server_certificate, 201),
                    methods=["POST"],
                ),
            ]
        )

    def count(self, operation: str) -> int:
        """How often an operation such as ``sign`` was asked for."""
        return sum(path.endswith(f"/{operation}") for _, path in self.calls)

    def _answer(
        self, handler: Callable[[Request], Awaitable[dict[str, Any]]], status: int = 200
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self.calls.append((request.method, request.url.path))
            try:
                while self.faults.hang:  # noqa: ASYNC110 - a plain switch for tests
                    await asyncio.sleep(0.05)
                if self.faults.status:
                    raise ApiError(self.faults.status, "failing as asked")
                if "api-version" not in request.query_params:
                    raise ApiError(400, "api-version is missing")
                return JSONResponse(await handler(request), status)
            except ApiError as error:
                return JSONResponse({"message": str(error)}, error.status)
            except (asyncio.CancelledError, ClientDisconnect):
                return JSONResponse({"message": "stopping"}, 503)

        return endpoint

    async def _trust_bundle(self, request: Request) -> dict[str, Any]:
        return {"certificate": self._authority.certificate}

    async def _sign(self, request: Request) -> dict[str, Any]:
        module, body = self._module(request), await _json(request)
        if body.get("keyId") != "primary" or body.get("algo") != "HMACSHA256":
            raise ApiError(400, "keyId must be primary and algo HMACSHA256")
        data = _bytes(body, "data")
        return {"digest": module.key.sign(data + b"!" * self.faults.wrong_signature)}

    async def _server_certificate(self, request: Request) -> dict[str, Any]:
        module, name = self._module(request), (await _json(request)).get("commonName")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "commonName is missing")
        issued = self._authority.issue(name, module.name, life=self.certificate_life)
        return {
            "privateKey": {"type": "key", "bytes": issued.key},
            "certificate": issued.chain,
            "expiration": issued.expires.isoformat(),
        }

    async def _encrypt(self, request: Request) -> dict[str, Any]:
        cipher, nonce, body = await self._cipher(request)
        sealed = cipher.encrypt(nonce, _bytes(body, "plaintext"), None)
        return {"ciphertext": base64.b64encode(sealed).decode()}

    async def _decrypt(self, request: Request) -> dict[str, Any]:
        cipher, nonce, body = await self._cipher(request)
        try:
            plain = cipher.decrypt(nonce, _bytes(body, "ciphertext"), None)
        except InvalidTag as error:
            raise ApiError(500, "decryption failed") from error
        return {"plaintext": base64.b64encode(plain).decode()}

    async def _cipher(self, request: Request) -> tuple[AESGCM, bytes, dict[str, Any]]:
        module, body = self._module(request), await _json(request)
        vector = _bytes(body, "initializationVector")
        key = hashlib.sha256(f"encryption {module.key.text}".encode()).digest()
        return AESGCM(key), hashlib.sha256(vector).digest()[:12], body

    def _module(self, request: Request) -> Module:
        module = self._find(request.path_params["name"])
        if module is None or request.path_params["generation"] != GENERATION:
            raise ApiError(404, "module not found")
        return module


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise ApiError(400, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not an object")
    return body


def _bytes(body: dict[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(body[key], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ApiError(400, f"{key} is not base64") from error
