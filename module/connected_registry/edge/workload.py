"""The workload API of IoT Edge: signatures, server certificates and sealing for this module.

It is HTTP on a Unix socket that the security daemon mounts into the container; the caller is
known by its process. Every call has a time limit: the daemon was seen to hang.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import httpx
from pydantic import SecretStr

from connected_registry.errors import ConfigurationError, WorkloadFailed

CALL_LIMIT: Final = timedelta(seconds=20)
MAX_ANSWER: Final = 1024 * 1024
"""Bytes; a certificate chain is a few thousand."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate that clients with the device's trust bundle accept; chain and key are PEM."""

    chain: str
    key: SecretStr
    issued: datetime
    expires: datetime

    @property
    def renew_at(self) -> datetime:
        """When to ask for the next one."""
        return renewal_time(self.issued, self.expires)


def renewal_time(issued: datetime, expires: datetime) -> datetime:
    """Two thirds into the life, so that a third is left for a daemon that does not answer."""
    return issued + max(expires - issued, timedelta()) * 2 / 3


@dataclass(frozen=True, slots=True)
class WorkloadAddress:
    """Where the API is: a Unix socket, or a host that answers HTTP."""

    url: str
    socket: str | None

    @classmethod
    def parse(cls, key: str, text: str) -> WorkloadAddress:
        """From ``unix:///path`` or ``http://host:port``; `ConfigurationError` names ``key``."""
        parts = urlsplit(text)
        if parts.scheme == "unix" and parts.path.strip("/"):
            return cls("http://workload", unquote(parts.path).rstrip("/"))
        if parts.scheme in ("http", "https") and parts.hostname:
            return cls(text.rstrip("/"), None)
        raise ConfigurationError(key, text, "write unix:///path/of/the.sock or http://host:port")

    def __str__(self) -> str:
        return self.socket or self.url


class WorkloadClient:
    """The API as this module may use it. Every method raises `WorkloadFailed`."""

    def __init__(
        self,
        address: WorkloadAddress,
        *,
        module: str,
        generation: str,
        api_version: str,
        call_limit: timedelta = CALL_LIMIT,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.address = address
        self._own = f"/modules/{quote(module, safe='')}/genid/{quote(generation, safe='')}"
        self._query = {"api-version": api_version}
        self._limit = call_limit.total_seconds()
        self._clock = clock

    async def trust_bundle(self) -> str:
        """The certificates, PEM, that edgeHub's and other modules' servers are checked by."""
        return _text(await self._call("GET", "/trust-bundle"), "certificate")

    async def sign(self, data: bytes) -> str:
        """HMAC-SHA256 of ``data`` with the module's key, in base64."""
        body = {"keyId": "primary", "algo": "HMACSHA256", "data": _base64(data)}
        return _text(await self._call("POST", f"{self._own}/sign", body), "digest")

    async def server_certificate(self, common_name: str) -> ServerCertificate:
        """A new certificate for one host name or address; the module's name is in it as well."""
        issued = self._clock()
        answer = await self._call(
            "POST", f"{self._own}/certificate/server", {"commonName": common_name}
        )
        private = answer.get("privateKey")
        if not isinstance(private, dict) or private.get("type") != "key":
            raise WorkloadFailed("the workload API answered a certificate without its key")
        try:
            expires = datetime.fromisoformat(_text(answer, "expiration"))
        except ValueError as error:
            raise WorkloadFailed("the workload API's expiration is not a time") from error
        if expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)
        return ServerCertificate(
            chain=_text(answer, "certificate"),
            key=SecretStr(_text(private, "bytes")),
            issued=issued,
            expires=expires,
        )

    async def encrypt(self, plaintext: bytes, vector: bytes) -> bytes:
        """Seal data so that only this module on this device can open it again."""
        body = {"plaintext": _base64(plaintext), "initializationVector": _base64(vector)}
        return _bytes(await self._call("POST", f"{self._own}/encrypt", body), "ciphertext")

    async def decrypt(self, ciphertext: bytes, vector: bytes) -> bytes:
        """Open what `encrypt` sealed with the same ``vector``."""
        body = {"ciphertext": _base64(ciphertext), "initializationVector": _base64(vector)}
        return _bytes(await self._call("POST", f"{self._own}/decrypt", body), "plaintext")

    async def _call(
        self, method: str, path: str, body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._limit):
                return await self._exchange(method, path, body)
        except TimeoutError as error:
            raise self._failure(path, f"no answer within {self._limit:g} s") from error
        except httpx.HTTPError as error:
            raise self._failure(path, str(error) or type(error).__name__) from error

    async def _exchange(
        self, method: str, path: str, body: dict[str, str] | None
    ) -> dict[str, Any]:
        # A connection a call: calls are hours apart, and the daemon restarts in between.
        transport = httpx.AsyncHTTPTransport(uds=self.address.socket)
        async with (
            httpx.AsyncClient(transport=transport, timeout=self._limit, trust_env=False) as client,
            client.stream(
                method, self.address.url + path, params=self._query, json=body
            ) as response,
        ):
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise self._failure(path, f"an answer of more than {MAX_ANSWER} bytes")
        if not response.is_success:
            raise self._failure(path, f"status {response.status_code} {_message(content)}".rstrip())
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise self._failure(path, "an answer that is not JSON") from error
        if not isinstance(answer, dict):
            raise self._failure(path, "an answer that is not a JSON object")
        return answer

    def _failure(self, path: str, reason: str) -> WorkloadFailed:
        operation = path.removeprefix(self._own).lstrip("/")
        return WorkloadFailed(f"the workload API at {self.address} failed to {operation}: {reason}")


def _message(content: bytes | bytearray) -> str:
    """What the daemon says of an error, in ``{"message": ...}``."""
    try:
        message = json.loads(content)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f"({str(message)[:200]})"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value:
        raise WorkloadFailed(f"the workload API's answer has no {key}")
    return value


def _bytes(answer: dict[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(_text(answer, key), validate=True)
    except binascii.Error as error:
        raise WorkloadFailed(f"the workload API's {key} is not base64") from error
