"""Bytes as no client library would send them, against both protocols."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from connected_registry.endpoint import connection
from connected_registry.endpoint.connection import MAX_HEAD
from endpoint.serving import Site, serve
from storage.store import REPOSITORY

GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n"
PATCH = (
    b"PATCH /v2/team/app/blobs/uploads/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def wire(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """An open registry on each of the two protocols."""
    folder = tmp_path_factory.mktemp(request.param) / "data"
    with serve(folder, h11=request.param == "h11") as site:
        yield site


def status(answer: bytes) -> int:
    """The status of the first answer in ``answer``; 0 where the connection just ended."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def alive(site: Site) -> bool:
    """Whether the server still answers others."""
    return site.raw(GET + CLOSE + b"\r\n").startswith(b"HTTP/1.1 200")


POST = b"POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        POST + b"Content-Length: +5\r\n\r\nhello",
        POST + b"Content-Length: 0x5\r\n\r\nhello",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\nhello",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\nhello",
        PATCH + b"zz\r\nhello\r\n0\r\n\r\n",
        PATCH + b"5\r\nhelloXX0\r\n\r\n",
        PATCH + b"-5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_body_without_a_clear_end_ends_the_connection(wire: Site, request_bytes: bytes) -> None:
    """What follows it is never taken for a request of its own."""
    answer = wire.raw(request_bytes + GET + b"\r\n", half_close=True)

    assert status(answer) in (0, 400, 404, 501)
    assert b"HTTP/1.1 200" not in answer
    assert alive(wire)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2/\r\n\r\n",
        b"G\x00T /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        GET + b"Bad Header: 1\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b" folded: 1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(wire: Site, request_bytes: bytes) -> None:
    """400 or the end of the connection, and others are served on."""
    assert status(wire.raw(request_bytes, half_close=True)) in (0, 400, 404, 405)
    assert alive(wire)


def test_a_length_beside_chunks_smuggles_nothing(wire: Site) -> None:
    """Whichever of the two is believed, what follows is not taken for a request of its own."""
    smuggled = (
        b"POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    answer = wire.raw(smuggled, half_close=True)

    assert answer.count(b"HTTP/1.1 200") == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET + b"X: " + b"a" * (2 * MAX_HEAD) + b"\r\n\r\n",
        GET + b"X: y\r\n" * 50_000 + b"\r\n",
        GET + b"X: " + b"a" * 10_000_000,
        b"GET /" + b"a" * 10_000_000,
        b"\r\n" * 5_000_000,
    ],
)
def test_more_head_than_anyone_needs_is_refused(
    wire: Site, monkeypatch: pytest.MonkeyPatch, request_bytes: bytes
) -> None:
    """Headers and addresses: the connection ends before they are all there."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1000.0)
    answer = wire.raw(request_bytes)

    assert status(answer) in (0, 400, 414, 431)
    assert alive(wire)


@pytest.mark.parametrize(
    "framing",
    [
        b"5;" + b"x" * 10_000_000,
        b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 200_000,
        b"0\r\nX: " + b"y" * 10_000_000,
    ],
)
def test_more_framing_than_content_is_refused(wire: Site, framing: bytes) -> None:
    """Chunk extensions and trailers: the upload that waits for them is cut off."""
    with wire.client() as client:
        location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = wire.raw(head.encode() + framing)

    assert status(answer) in (0, 400, 431)
    assert alive(wire)


def test_an_early_refusal_reaches_a_client_that_is_still_sending(wire: Site) -> None:
    """The connection is not reset under it: it can send on for a while after the answer."""
    with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as sending:
        sending.sendall(
            b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n"
            b"Content-Type: application/x\r\n\r\n" + bytes(1_000_000)
        )
        assert sending.recv(1000).startswith(b"HTTP/1.1 413")
        for _ in range(20):
            sending.sendall(bytes(1_000_000))


def test_small_chunks_are_taken(wire: Site) -> None:
    """Framing may cost more than content, as long as it is not all there is."""
    content = b"".join(b"1\r\nx\r\n" for _ in range(50_000))
    with wire.client() as client:
        location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n".encode()
    answer = wire.raw(head + CLOSE + b"\r\n" + content + b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 202")
    assert b"range: 0-49999" in answer.lower()


def test_trailers_add_nothing_to_the_headers(wire: Site) -> None:
    """A digest, a type or credentials after the body are not looked at."""
    with wire.client() as client:
        location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n".encode()
    trailer = b"0\r\nAuthorization: Basic eDp5\r\nContent-Range: 5-9\r\nHost: y\r\n\r\n"
    answer = wire.raw(head + CLOSE + b"\r\n5\r\nhello\r\n" + trailer)

    assert answer.startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize(
    ("first", "started"), [(b"", False), (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ", True)]
)
def test_a_head_that_never_ends_is_cut_off(
    wire: Site, monkeypatch: pytest.MonkeyPatch, first: bytes, started: bool
) -> None:
    """A request that has begun gets little time; a connection without one is merely idle."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as slow:
        slow.sendall(first)
        if started:
            assert slow.recv(100) == b""
        else:
            slow.settimeout(0.3)
            with pytest.raises(TimeoutError):
                slow.recv(100)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET http://other.example/v2/ HTTP/1.1\r\nHost: x", 200),
        (b"GET /v2 HTTP/1.1\r\nHost: x", 200),
        (b"GET //v2// HTTP/1.1\r\nHost: x", 404),
        (b"GET /V2/ HTTP/1.1\r\nHost: x", 404),
        (b"GET /v2/;a=b HTTP/1.1\r\nHost: x", 404),
        (b"GET /v2/?" + b"?" * 10_000 + b" HTTP/1.1\r\nHost: x", 200),
        (b"GET /v2/?" + b"a&" * 5000 + b" HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x", 414),
        (b"GET /v2/a/../b/manifests/1 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a/./b/manifests/1 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a//b/manifests/1 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a%00/manifests/1 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a%0d%0aX:%20y/manifests/1 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a/manifests/%F0%9F%90%B3 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a/tags/list?last=%00 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/a/tags/list?last=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/_catalog?n=1&n=2 HTTP/1.1\r\nHost: x", 400),
        (b"GET /v2/ HTTP/1.1", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: evil.com/path", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: user@evil.com", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: a b", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade", 200),
        (b"GET /v2/ HTTP/1.0", 200),
    ],
)
def test_odd_requests_have_a_rule(wire: Site, line: bytes, expected: int) -> None:
    """The address that is authorised is the one that was sent: nothing is redirected or tidied."""
    answer = wire.raw(
        line + b"\r\n" + (b"" if b"Connection" in line else CLOSE) + b"\r\n", half_close=True
    )
    allowed = {expected, 414, 431} if len(line) > MAX_HEAD else {expected}

    assert status(answer) in allowed
    assert b"\r\nlocation:" not in answer.lower()


def test_a_body_held_back_until_asked_for_is_not_waited_for(wire: Site) -> None:
    """A refusal comes at once, before "100 Continue" would."""
    answer = wire.raw(
        b"PUT /v2/A/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"100 Continue" not in answer


def test_an_endless_body_is_cut(wire: Site) -> None:
    """A manifest that never stops is refused at the limit, and the connection ends."""
    head = (
        b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
    )
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as endless:
        endless.sendall(head)
        sent = 0
        try:
            while sent < 400:
                endless.sendall(chunk)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass

    assert sent < 400
    assert alive(wire)


def test_pipelined_requests_are_answered_in_order(wire: Site) -> None:
    """Each with its own answer."""
    answer = wire.raw(
        GET + b"\r\n" + b"GET /v2/x HTTP/1.1\r\nHost: x\r\n\r\n" + GET + CLOSE + b"\r\n"
    )
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]

    assert statuses == [200, 404, 200]


def test_answers_carry_a_date_and_no_server(wire: Site) -> None:
    """What we run is nobody's business; clients and caches want the date."""
    head = wire.raw(GET + CLOSE + b"\r\n").partition(b"\r\n\r\n")[0].lower()

    assert b"\r\ndate: " in head
    assert b"\r\nserver:" not in head
