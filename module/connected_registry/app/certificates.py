"""The endpoint's TLS: a certificate from a folder or of the workload API, renewed while serving."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import structlog

from connected_registry.edge.reported import Certificate, Tls
from connected_registry.edge.workload import ServerCertificate, WorkloadClient
from connected_registry.errors import ConfigurationError, EdgeError

PAIRS: Final = (("tls.crt", "tls.key"), ("server.crt", "server.key"), ("cert.pem", "key.pem"))
"""File names of certificate chain and key, the first pair that is there counts."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the folder."""
RETRY: Final = 60.0
"""Seconds before the workload API is asked again after it failed."""

Source = Literal["auto", "off", "folder", "workload"]

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Files:
    """A pair in the folder, and a mark that changes with its content."""

    chain: Path
    key: Path
    mark: tuple[int, ...]


class Certificates:
    """Keeps one `ssl.SSLContext` up to date; connections that are open keep what they have.

    ``context`` is None for plain HTTP: with ``off``, and with ``auto`` over an empty folder.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        workload: WorkloadClient | None,
        host: str,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self.context: ssl.SSLContext | None = None
        self._source = source
        self._folder = folder
        self._workload = workload
        self._host = host
        self._clock = clock
        self._files: _Files | None = None
        self._expires: datetime | None = None
        self._renew_at: datetime | None = None

    async def open(self) -> None:
        """Load the first certificate. Raises `ConfigurationError` where one is needed."""
        if self._source == "workload":
            await self._open_workload()
            return
        if self._source == "off":
            return
        self._files = await asyncio.to_thread(_find, self._folder)
        if self._files is not None:
            await asyncio.to_thread(self._load, self._files)
        elif self._source == "folder":
            names = " or ".join(" with ".join(pair) for pair in PAIRS)
            raise ConfigurationError(
                "ACR_REGISTRY_CERTIFICATE_VOLUME", str(self._folder), f"put {names} there"
            )

    @property
    def tls(self) -> Tls:
        """What is reported."""
        if self.context is None or self._expires is None:
            return Tls(status="Disabled")
        kind = "WorkloadApi" if self._source == "workload" else "LocalDirectory"
        return Tls(status="Enabled", certificate=Certificate(type=kind, expires=self._expires))

    async def run(self) -> None:
        """Load what is new, for ever. A pair that does not fit is told, and the old one kept."""
        while True:
            if self._source == "workload":
                await self._renew()
            else:
                await asyncio.sleep(LOOK_EVERY)
                await self._look()

    async def _look(self) -> None:
        found = await asyncio.to_thread(_find, self._folder)
        if found is None or found == self._files:
            return
        try:
            await asyncio.to_thread(self._load, found)
        except ConfigurationError as error:
            _log.error("tls.certificate_refused", reason=str(error))
        else:
            _log.info("tls.certificate_loaded", expires=str(self._expires))
        self._files = found

    def _load(self, files: _Files) -> None:
        context = self.context or _context()
        try:
            # Tried on a context of its own first: a half-loaded pair would break new connections.
            _context().load_cert_chain(files.chain, files.key)
            context.load_cert_chain(files.chain, files.key)
            expires = _expiry(files.chain)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                "ACR_REGISTRY_CERTIFICATE_VOLUME",
                str(files.chain),
                f"it must be a PEM certificate that fits the key {files.key.name} ({error})",
            ) from error
        self.context, self._expires = context, expires

    async def _open_workload(self) -> None:
        if self._workload is None:
            raise ConfigurationError(
                "CONNECTED_REGISTRY_TLS", "workload", "there is no IoT Edge workload API here"
            )
        try:
            await self._request()
        except EdgeError as error:
            raise ConfigurationError("CONNECTED_REGISTRY_TLS", "workload", str(error)) from error

    async def _request(self) -> None:
        assert self._workload is not None
        certificate = await self._workload.server_certificate(self._host)
        context = self.context or _context()
        with _in_memory(certificate) as (chain, key):
            context.load_cert_chain(chain, key)
        self.context = context
        self._expires, self._renew_at = certificate.expires, certificate.renew_at

    async def _renew(self) -> None:
        assert self._renew_at is not None
        left = (self._renew_at - self._clock()).total_seconds()
        if left > 0:
            # Not slept through in one go, because the clock may be set meanwhile.
            await asyncio.sleep(min(left, RETRY))
            return
        try:
            await self._request()
        except (EdgeError, ssl.SSLError) as error:
            _log.warning("tls.renewal_failed", reason=str(error), expires=str(self._expires))
            await asyncio.sleep(RETRY)
        else:
            _log.info("tls.certificate_renewed", expires=str(self._expires))


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _find(folder: Path) -> _Files | None:
    for chain_name, key_name in PAIRS:
        chain, key = folder / chain_name, folder / key_name
        try:
            looks = (chain.stat(), key.stat())
        except OSError:
            continue
        mark = tuple(part for look in looks for part in (look.st_mtime_ns, look.st_size))
        return _Files(chain, key, mark)
    return None


def _expiry(chain: Path) -> datetime:
    # The standard library has no public way to read a certificate from a file.
    decoded = ssl._ssl._test_decode_cert(str(chain))  # type: ignore[attr-defined]
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(decoded["notAfter"]), UTC)


@contextmanager
def _in_memory(certificate: ServerCertificate) -> Iterator[tuple[str, str]]:
    """Names under which OpenSSL reads chain and key; the key never touches a disk."""
    texts = (certificate.chain, certificate.key.get_secret_value())
    descriptors = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("chain", "key")]
    try:
        for descriptor, text in zip(descriptors, texts, strict=True):
            os.write(descriptor, text.encode())
        chain, key = (f"/proc/self/fd/{descriptor}" for descriptor in descriptors)
        yield chain, key
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
