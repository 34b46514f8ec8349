"""Retries, redirects, limits and the classes of failure, against real sockets."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from connected_registry.errors import (
    ConfigurationError,
    ParentError,
    ParentFailed,
    ParentLied,
    ParentNotFound,
    ParentOffline,
    ParentThrottled,
    ParentUnauthorized,
    ParentUnavailable,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.client import ParentAddress, ParentClient
from connected_registry.parent.limits import MAX_HOPS
from peers.clients import client_of
from peers.images import make_image
from peers.proxy import CountingProxy
from peers.scripted import HONEST, Reply, ScriptedRegistry

APP = RepositoryName("team/app")
LATEST = Tag("latest")
MANIFEST = "/v2/team/app/manifests/latest"


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    """A registry that holds one image."""
    with ScriptedRegistry() as registry:
        registry.hold(make_image(), APP, LATEST)
        yield registry


@pytest.fixture
def sink() -> Iterator[ScriptedRegistry]:
    """Another host, which records what is sent to it."""
    with ScriptedRegistry() as sink:
        yield sink


@pytest.mark.parametrize(
    "fault",
    [
        Reply(408),
        Reply(429),
        Reply(429, {"Retry-After": "0"}),
        Reply(500),
        Reply(502),
        Reply(503),
        Reply(503, {"Retry-After": "0"}),
        Reply(504),
        Reply(raw=b""),
        Reply(body=b"{" * 100, cut=10),
        Reply(body=b"{" * 100, cut=0, reset=True),
    ],
)
async def test_passing_faults_are_tried_again(registry: ScriptedRegistry, fault: Reply) -> None:
    """After one throttled, failed or cut answer the next one is taken."""
    registry.on(MANIFEST, fault, HONEST)
    async with client_of(registry) as client:
        assert (await client.get_manifest(APP, LATEST)).content
    assert len(registry.asked(MANIFEST)) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reply.error(401, "UNAUTHORIZED"), ParentUnauthorized),
        (Reply.error(403, "DENIED"), ParentUnauthorized),
        (Reply.error(404, "MANIFEST_UNKNOWN"), ParentNotFound),
        (Reply.error(400, "NAME_INVALID"), ParentFailed),
        (Reply(501), ParentFailed),
        (Reply(204, {"Docker-Content-Digest": "sha256:" + "0" * 64}), ParentLied),
        (Reply(200, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b"{}"), ParentLied),
        (Reply(200, {"Content-Encoding": "gzip"}, b"{}"), ParentLied),
        (Reply(200, {}, b"x" * (4 * 1024 * 1024 + 1)), ParentFailed),
        (Reply(200, {}, b"x" * 65536, endless=True), ParentFailed),
        (Reply(404, {}, b"x" * 65536, endless=True), ParentFailed),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), ParentFailed),
        (
            Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            ParentFailed,
        ),
    ],
)
async def test_lasting_faults_are_not_tried_again(
    registry: ScriptedRegistry, fault: Reply, error: type[ParentError]
) -> None:
    """A refusal, an absence, a lie and nonsense are told at once, each by its class."""
    registry.on(MANIFEST, fault)
    async with client_of(registry) as client:
        with pytest.raises(error) as caught:
            await client.get_manifest(APP, LATEST)
    assert type(caught.value) is error
    assert len(registry.asked(MANIFEST)) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reply(500), ParentUnavailable),
        (Reply(429), ParentThrottled),
        (Reply(raw=b""), ParentOffline),
    ],
)
async def test_gives_up_in_the_end(
    registry: ScriptedRegistry, fault: Reply, error: type[ParentError]
) -> None:
    """A fault that stays is raised by its class after as many tries as allowed."""
    registry.on(MANIFEST, fault)
    async with client_of(registry, attempts=3) as client:
        with pytest.raises(error):
            await client.get_manifest(APP, LATEST)
    assert len(registry.asked(MANIFEST)) == 3


async def test_retry_after_beyond_our_patience_is_not_waited_for(
    registry: ScriptedRegistry,
) -> None:
    """Asked to wait an hour we neither wait nor knock earlier, but say how long it is."""
    registry.on(MANIFEST, Reply(429, {"Retry-After": "3600"}))
    async with client_of(registry) as client:
        with pytest.raises(ParentThrottled) as caught:
            await client.get_manifest(APP, LATEST)
    assert caught.value.retry_after == 3600
    assert len(registry.asked(MANIFEST)) == 1


async def test_the_words_of_the_parent_are_told_safely(registry: ScriptedRegistry) -> None:
    """Code and message of the error are in ours, on one line and cut to a bearable length."""
    registry.on(MANIFEST, Reply.error(403, "DENIED", "no\r\nX: \x1b[31m" + "y" * 10_000))
    async with client_of(registry) as client:
        with pytest.raises(ParentUnauthorized, match="403 \\(DENIED: no") as caught:
            await client.get_manifest(APP, LATEST)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


async def test_refused_connection_is_offline(registry: ScriptedRegistry) -> None:
    """A parent that is not there is offline, after retries."""
    with CountingProxy(registry.host, registry.port) as link:
        link.refuse()
        async with client_of(link, attempts=2) as client:
            with pytest.raises(ParentOffline):
                await client.ping()


async def test_unknown_name_is_offline() -> None:
    """A host name that does not resolve is offline."""

    class Nowhere:
        address = "nowhere.invalid:5000"

    async with client_of(Nowhere(), attempts=1) as client:
        with pytest.raises(ParentOffline):
            await client.ping()


@pytest.mark.parametrize("accept", [True, False])
async def test_black_hole_is_offline(registry: ScriptedRegistry, accept: bool) -> None:
    """A link that drops everything is offline after the connect or read timeout."""
    with CountingProxy(registry.host, registry.port) as link:
        link.black_hole(accept=accept)
        async with client_of(link, attempts=1, connect=0.2, read=0.2) as client:
            with pytest.raises(ParentOffline, match="timed out"):
                await client.ping()


async def test_silence_is_offline(registry: ScriptedRegistry) -> None:
    """A parent that takes the request and says nothing is offline after the read timeout."""
    registry.on("/v2/", Reply(hang=True))
    async with client_of(registry, attempts=1, read=0.2) as client:
        with pytest.raises(ParentOffline, match="timed out"):
            await client.ping()


async def test_slow_answer_is_cut_by_the_total_time(registry: ScriptedRegistry) -> None:
    """Bytes that keep coming do not keep an exchange alive for ever."""
    registry.on("/v2/", Reply(body=b"x", drip=(1, 0.02), endless=True))
    async with client_of(registry, attempts=1, answer=0.3) as client:
        with pytest.raises(ParentOffline, match="timed out"):
            await client.ping()


async def test_drip_feed_is_cut_by_the_floor(registry: ScriptedRegistry) -> None:
    """A body that comes more slowly than the floor is given up."""
    registry.on("/v2/", Reply(body=b"x", drip=(1, 0.02), endless=True))
    async with client_of(registry, attempts=1, floor=1000.0, floor_window=0.2) as client:
        with pytest.raises(ParentOffline, match="sent only"):
            await client.ping()


async def test_redirect_to_another_host_goes_without_credentials(
    registry: ScriptedRegistry, sink: ScriptedRegistry
) -> None:
    """The other host gets the request and not the password, and its answer is taken."""
    basic = 'Basic realm="tests"'
    registry.on(
        MANIFEST, Reply(401, {"WWW-Authenticate": basic}), Reply(307, {"Location": f"{sink.url}/s"})
    )
    sink.on("/s", Reply(200, {"Content-Type": "application/json"}, b"{}"))
    async with client_of(registry, ("ada", "lace")) as client:
        fetched = await client.get_manifest(APP, LATEST)
    assert fetched.content == b"{}"
    assert registry.requests[-1].authorization is not None
    assert [request.authorization for request in sink.requests] == [None]


async def test_credentials_do_not_come_back_after_a_hop_abroad(
    registry: ScriptedRegistry, sink: ScriptedRegistry
) -> None:
    """Sent back to the parent by another host, we come without credentials."""
    challenge = Reply(401, {"WWW-Authenticate": 'Basic realm="tests"'})
    registry.on(MANIFEST, challenge, Reply(307, {"Location": f"{sink.url}/s"}))
    registry.on("/back", Reply(200, {}, b"{}"))
    sink.on("/s", Reply(307, {"Location": f"{registry.url}/back"}))
    async with client_of(registry, ("ada", "lace")) as client:
        await client.get_manifest(APP, LATEST)
    assert [request.authorization for request in registry.asked("/back")] == [None]


async def test_redirects_are_bounded(registry: ScriptedRegistry) -> None:
    """A redirect to itself is followed three times and no more."""
    registry.on(MANIFEST, Reply(307, {"Location": MANIFEST}))
    async with client_of(registry) as client:
        with pytest.raises(ParentFailed, match="too often"):
            await client.get_manifest(APP, LATEST)
    assert len(registry.asked(MANIFEST)) == MAX_HOPS + 1


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/x", "http://[fe80::1]/x", "file:///etc/passwd", ""]
)
async def test_redirects_to_bad_places_are_refused(
    registry: ScriptedRegistry, location: str
) -> None:
    """Metadata addresses and other schemes are not followed."""
    registry.on(MANIFEST, Reply(307, {"Location": location}))
    async with client_of(registry) as client:
        with pytest.raises(ParentFailed):
            await client.get_manifest(APP, LATEST)


async def test_refusal_by_a_storage_host_says_nothing_of_our_credentials(
    registry: ScriptedRegistry, sink: ScriptedRegistry
) -> None:
    """A 403 for a signed address that has expired is tried again from the parent on."""
    registry.on(MANIFEST, Reply(307, {"Location": f"{sink.url}/s?sig=1"}))
    sink.on("/s", Reply(403), Reply(200, {}, b"{}"))
    async with client_of(registry) as client:
        assert (await client.get_manifest(APP, LATEST)).content == b"{}"
    assert len(registry.asked(MANIFEST)) == 2


async def test_cookies_are_not_kept(registry: ScriptedRegistry) -> None:
    """A cookie that the parent sets is not sent back."""
    registry.on("/v2/", Reply(200, {"Set-Cookie": "id=1; Path=/"}, b"{}"))
    async with client_of(registry) as client:
        await client.ping()
        await client.ping()
    assert all("cookie" not in request.headers for request in registry.requests)


async def test_the_environment_is_not_asked(
    registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies of the environment are not used."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with client_of(registry) as client:
        await client.ping()


async def test_an_explicit_proxy_is_used(
    registry: ScriptedRegistry, sink: ScriptedRegistry
) -> None:
    """With a proxy configured requests go there, with the whole address."""
    sink.on("/v2/", Reply.json({}))
    async with client_of(registry, address={"proxy": sink.url}) as client:
        await client.ping()
    assert [request.headers["host"] for request in sink.requests] == [registry.address]
    assert registry.requests == []


async def test_a_bad_proxy_is_a_configuration_error() -> None:
    """A proxy address that makes no sense is told with its key."""

    class Anywhere:
        address = "parent.example"

    with pytest.raises(ConfigurationError, match="proxy"):
        client_of(Anywhere(), address={"proxy": "nonsense://x"})


async def test_connections_are_reused(registry: ScriptedRegistry) -> None:
    """Requests one after the other share a connection."""
    with CountingProxy(registry.host, registry.port) as link:
        async with client_of(link) as client:
            for _ in range(5):
                await client.ping()
        assert link.connections == 1


async def test_a_connection_closed_while_idle_is_replaced(registry: ScriptedRegistry) -> None:
    """The parent closing a kept connection costs a retry and is not seen."""
    with CountingProxy(registry.host, registry.port) as link:
        async with client_of(link) as client:
            await client.ping()
            link.cut_now()
            await client.ping()


async def test_counts_requests_and_bytes(registry: ScriptedRegistry) -> None:
    """Every request is counted, and the bytes of every body."""
    async with client_of(registry) as client:
        fetched = await client.get_manifest(APP, LATEST)
        assert client.requests_sent == 1
        assert client.bytes_received == len(fetched.content)


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority of the site's own."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[ScriptedRegistry]:
    """A registry behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ScriptedRegistry(tls=context) as registry:
        yield registry


async def test_a_configured_authority_is_trusted(
    secure: ScriptedRegistry, authority: trustme.CA, tmp_path: Path
) -> None:
    """With its CA file the parent's certificate is accepted."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with client_of(secure, protocol="https", address={"ca_file": file}) as client:
        await client.ping()


async def test_an_unknown_authority_is_not_trusted(secure: ScriptedRegistry) -> None:
    """Without it nothing is sent, and the error names the remedy; it is not tried again."""
    async with client_of(secure, protocol="https") as client:
        with pytest.raises(ParentFailed, match="CA file"):
            await client.ping()
    assert secure.requests == []


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_bad_authority_file_is_a_configuration_error(tmp_path: Path, content: str | None) -> None:
    """A CA file that is missing or holds no certificate is told with its key."""

    class Anywhere:
        address = "parent.example"

    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match="caFile"):
        client_of(Anywhere(), address={"ca_file": file})


async def test_an_encrypted_parent_cannot_redirect_to_plain(
    secure: ScriptedRegistry, authority: trustme.CA, sink: ScriptedRegistry, tmp_path: Path
) -> None:
    """A redirect from https to http is refused."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    secure.on(MANIFEST, Reply(307, {"Location": f"{sink.url}/s"}))
    async with client_of(secure, protocol="https", address={"ca_file": file}) as client:
        with pytest.raises(ParentFailed, match="not encrypted"):
            await client.get_manifest(APP, LATEST)
    assert sink.requests == []


async def test_identity_encoding_is_asked_for(registry: ScriptedRegistry) -> None:
    """Every request asks for plain bytes and says who we are."""
    async with client_of(registry) as client:
        await client.get_manifest(APP, Digest(make_image().digest))
    headers = registry.requests[0].headers
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "connected-registry/tests"


async def test_an_injected_transport_is_guarded_too() -> None:
    """A transport given by the caller is held to the same rules as the network."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b"")

    transport = httpx.MockTransport(answer)
    client = ParentClient(ParentAddress("parent.example"), user_agent="t", transport=transport)
    async with client:
        with pytest.raises(ParentLied):
            await client.ping()
