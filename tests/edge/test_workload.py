from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge.workload import WorkloadAddress, WorkloadClient, renewal_time
from connected_registry.errors import WorkloadFailed
from local_hub.hub import LocalHub
from local_hub.workload import API_VERSION, GENERATION

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    """A local hub with the module ``edge1/registry``."""
    async with LocalHub(tmp_path) as hub:
        hub.add_module("edge1", "registry")
        yield hub


def client(hub: LocalHub, *, generation: str = GENERATION, limit: float = 20) -> WorkloadClient:
    """A client of the hub's workload API."""
    return WorkloadClient(
        WorkloadAddress.parse("URI", f"unix://{hub.folder / 'workload.sock'}"),
        module="registry",
        generation=generation,
        api_version=API_VERSION,
        call_limit=timedelta(seconds=limit),
        clock=lambda: NOW,
    )


async def test_the_trust_bundle_is_the_authority_of_the_device(hub: LocalHub) -> None:
    """As PEM text."""
    assert await client(hub).trust_bundle() == hub.authority.certificate


async def test_signatures_are_those_of_the_module_key(hub: LocalHub) -> None:
    """The answer is base64, as tokens need it."""
    assert await client(hub).sign(b"data") == hub.modules["edge1/registry"].key.sign(b"data")


async def test_a_server_certificate_is_good_for_its_name_and_the_module(hub: LocalHub) -> None:
    """A TLS client that trusts the bundle takes it under both names, and under no other."""
    certificate = await client(hub).server_certificate("edge.example")
    chain, key = hub.folder / "chain.pem", hub.folder / "key.pem"
    chain.write_text(certificate.chain)
    key.write_text(certificate.key.get_secret_value())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    trusting = ssl.create_default_context(cadata=await client(hub).trust_bundle())

    assert shakes_hands(trusting, server, "edge.example")
    assert shakes_hands(trusting, server, "registry")
    assert not shakes_hands(trusting, server, "other.example")


async def test_a_server_certificate_says_when_to_renew_it(hub: LocalHub) -> None:
    """Two thirds into its life, counted from now."""
    hub.workload.certificate_life = timedelta(days=30)
    certificate = await client(hub).server_certificate("10.0.0.1")

    assert certificate.issued == NOW
    assert certificate.renew_at == NOW + (certificate.expires - NOW) * 2 / 3
    assert "PRIVATE KEY" not in repr(certificate)


async def test_sealed_data_opens_with_the_same_vector_only(hub: LocalHub) -> None:
    """What was encrypted here comes back as it was; another vector fails."""
    sealed = await client(hub).encrypt("geheim é".encode(), b"vector")

    assert await client(hub).decrypt(sealed, b"vector") == "geheim é".encode()
    with pytest.raises(WorkloadFailed, match="failed to decrypt: status 500"):
        await client(hub).decrypt(sealed, b"other")


async def test_an_error_of_the_daemon_is_told_with_its_words(hub: LocalHub) -> None:
    """Socket, operation, status and message are in the sentence."""
    with pytest.raises(
        WorkloadFailed, match=r"workload\.sock failed to sign: status 404 \(module not found\)"
    ):
        await client(hub, generation="older").sign(b"data")


async def test_a_daemon_that_hangs_is_given_up(hub: LocalHub) -> None:
    """Every call has a limit."""
    hub.workload.faults.hang = True

    with pytest.raises(WorkloadFailed, match=r"no answer within 0\.2 s"):
        await client(hub, limit=0.2).trust_bundle()


async def test_a_socket_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The path is in the sentence."""
    workload = WorkloadClient(
        WorkloadAddress("http://workload", str(tmp_path / "none.sock")),
        module="registry",
        generation="1",
        api_version=API_VERSION,
    )

    with pytest.raises(WorkloadFailed, match=r"none\.sock failed to sign"):
        await workload.sign(b"data")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b"{}", b'{"digest": 1}', b'{"digest": ""}', b"x" * 2_000_000]
)
async def test_an_answer_of_another_form_is_an_error(tmp_path: Path, body: bytes) -> None:
    """No answer makes anything but `WorkloadFailed`."""
    path = tmp_path / "w.sock"
    server = await answer_with(path, body)
    workload = WorkloadClient(
        WorkloadAddress("http://workload", str(path)),
        module="registry",
        generation="1",
        api_version=API_VERSION,
    )
    async with server:
        with pytest.raises(WorkloadFailed):
            await workload.sign(b"data")


@given(
    issued=st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC)),
    life=st.timedeltas(timedelta(days=-10), timedelta(days=4000)),
)
def test_renewal_lies_within_the_life(issued: datetime, life: timedelta) -> None:
    """Never before the start, and with a third left; at once for one that has ended."""
    at = renewal_time(issued, issued + life)

    assert at >= issued
    assert at == issued or issued + life - at >= life / 3 - timedelta(seconds=1)


def shakes_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bool:
    """Whether a client that expects ``name`` accepts the server, without any network."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return near.version() is not None


async def answer_with(path: Path, body: bytes) -> asyncio.Server:
    """A server on a Unix socket that gives one answer to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(serve, path)
