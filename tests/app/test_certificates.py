"""The endpoint's certificate: found in a folder, renewed while serving, kept when needed."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from connected_registry.app.certificates import Certificates
from connected_registry.errors import ConfigurationError

AUTHORITY = trustme.CA()


def issue(folder: Path, name: str = "localhost") -> None:
    """Put a new certificate for ``name`` into ``folder``."""
    issued = AUTHORITY.issue_cert(name)
    folder.mkdir(exist_ok=True)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


def certificates(folder: Path, source: str = "auto") -> Certificates:
    """What is under test, without a workload API."""
    return Certificates(source, folder, None, "localhost", clock=lambda: datetime.now(UTC))  # type: ignore[arg-type]


async def shown_serial(context: ssl.SSLContext) -> str:
    """The serial number that a client of a server with ``context`` sees."""
    client = ssl.create_default_context()
    AUTHORITY.configure_trust(client)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        found = writer.get_extra_info("peercert")
        writer.close()
        return str(found["serialNumber"])


async def test_an_empty_folder_means_plain_http(tmp_path: Path) -> None:
    """Without a certificate the endpoint speaks HTTP and reports so."""
    found = certificates(tmp_path)

    await found.open()

    assert found.context is None
    assert found.tls.status == "Disabled"


async def test_a_missing_certificate_is_an_error_where_one_is_asked_for(tmp_path: Path) -> None:
    """The sentence names the variable and the files to put there."""
    with pytest.raises(ConfigurationError, match=r"ACR_REGISTRY_CERTIFICATE_VOLUME.*tls\.crt"):
        await certificates(tmp_path, "folder").open()


async def test_a_certificate_of_the_folder_is_served_and_reported(tmp_path: Path) -> None:
    """Its expiry is part of what is reported."""
    issue(tmp_path)
    found = certificates(tmp_path)

    await found.open()

    assert found.context is not None
    assert await shown_serial(found.context)
    assert found.tls.certificate is not None
    assert found.tls.certificate.type == "LocalDirectory"
    assert found.tls.certificate.expires > datetime.now(UTC)


async def test_a_renewed_certificate_is_served_by_the_same_context(tmp_path: Path) -> None:
    """The listener goes on; only what new connections see changes."""
    issue(tmp_path)
    found = certificates(tmp_path)
    await found.open()
    assert found.context is not None
    before = await shown_serial(found.context)

    issue(tmp_path)
    await found._look()

    assert before != await shown_serial(found.context)


async def test_a_key_that_does_not_fit_leaves_the_old_certificate(tmp_path: Path) -> None:
    """A renewal that went half-way breaks nothing."""
    issue(tmp_path)
    found = certificates(tmp_path)
    await found.open()
    assert found.context is not None
    before = await shown_serial(found.context)

    AUTHORITY.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "tls.key")
    await found._look()

    assert before == await shown_serial(found.context)


async def test_a_key_that_does_not_fit_at_start_is_an_error(tmp_path: Path) -> None:
    """There is nothing to fall back on, and plain HTTP was not asked for."""
    issue(tmp_path)
    AUTHORITY.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "tls.key")

    with pytest.raises(ConfigurationError, match=r"fits the key tls\.key"):
        await certificates(tmp_path).open()
