"""The prompt way and the ordinary way give the same answers, byte for byte."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connected_registry.endpoint.access import Access, AccessRules
from connected_registry.endpoint.prompt import Prompt
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from endpoint.people import MINE, rules, token
from endpoint.serving import Site, serve
from storage.store import REPOSITORY, image

EMPTY = rules()
PUSHED = image(b"layer", annotations={"spaces": "  kept  "})
SMALL_BLOB = bytes(range(256)) * 20
LARGE_BLOB = SMALL_BLOB * 40
BLOBS = [str(Digest.of(content)) for content in (SMALL_BLOB, LARGE_BLOB, b"", b"unknown")]
ADA = b"Authorization: Basic YWRhOmFkYS1zZWNyZXQ="
BOB = b"Authorization: Basic Ym9iOmJvYi1zZWNyZXQ="


class Line:
    """One connection that is kept, as clients keep theirs."""

    def __init__(self, site: Site) -> None:
        self._socket = socket.create_connection(("127.0.0.1", site.port), timeout=30)
        self._buffer = b""

    def ask(self, *requests: bytes) -> list[bytes]:
        """The answers, without their dates."""
        self._socket.sendall(b"".join(requests))
        return [self._answer(request.startswith(b"HEAD")) for request in requests]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _answer(self, is_head: bool) -> bytes:
        head = self._until(lambda: self._buffer.find(b"\r\n\r\n") + 4, 4)
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
        bodiless = is_head or head.startswith(b"HTTP/1.1 304")
        wanted = 0 if bodiless or length is None else int(length[1])
        body = self._until(lambda: wanted if len(self._buffer) >= wanted else -1, 0)
        return re.sub(rb"\r\ndate: [^\r]*", b"", head) + body

    def _until(self, end: Callable[[], int], least: int) -> bytes:
        while (at := end()) < least:
            piece = self._socket.recv(1 << 20)
            assert piece, "the connection ended"
            self._buffer += piece
        found, self._buffer = self._buffer[:at], self._buffer[at:]
        return found


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, Line]]:
    """A line to a replica as it is, and one to a replica that knows no prompt answers."""
    sites = []
    people = rules(token("ada", "all"), token("bob", "none"))
    with (
        serve(tmp_path_factory.mktemp("prompt") / "data", people) as prompt,
        serve(tmp_path_factory.mktemp("ordinary") / "data", people) as ordinary,
        pytest.MonkeyPatch.context() as patch,
    ):
        for site in (prompt, ordinary):
            site.store.push(PUSHED, "1.0", "latest")
            for content in (SMALL_BLOB, LARGE_BLOB, b""):
                site.store.push_blob(content)
            sites.append(Line(site))
        whole = Prompt.answer
        patch.setattr(
            Prompt,
            "answer",
            lambda self, scope: None if scope["server"][1] == ordinary.port else whole(self, scope),
        )
        yield sites[0], sites[1]
        for line in sites:
            line.close()


ADDRESSES = st.sampled_from(
    [
        *(f"/v2/{MINE}/manifests/{name}" for name in ("1.0", "latest", "gone", PUSHED.digest)),
        *(f"/v2/{MINE}/blobs/{digest}" for digest in BLOBS),
        f"/v2/other/app/blobs/{BLOBS[0]}",
        f"/v2/{MINE}/tags/list",
        "/v2/",
        f"/v2/{MINE}/manifests/..",
        "/v2/team%2Fapp/manifests/1.0?ns=docker.io&x=%zz",
        f"/v2/{MINE}/manifests/1.0?" + "a&" * 600,
    ]
)
FIELDS = st.lists(
    st.sampled_from(
        [
            b"Accept: */*",
            b"Accept-Encoding: gzip",
            b"If-None-Match: *",
            b'If-None-Match: "' + PUSHED.digest.encode() + b'"',
            b'If-None-Match: "' + BLOBS[0].encode() + b'"',
            b"Range: bytes=0-9",
            b"Range: bytes=-100",
            b"Range: bytes=9999999-",
            b"Range: lines=1-2",
            b'If-Range: "' + BLOBS[0].encode() + b'"',
            b'If-Range: "other"',
            b"Content-Length: 0",
            b"Connection: keep-alive",
            b"X-Forwarded-Host: other",
        ]
    ),
    max_size=4,
    unique=True,
)
HOSTS = st.sampled_from([b"Host: x", b"Host: x\r\nHost: y", b"", b"Host: bad host"])
CALLERS = st.sampled_from([ADA, ADA, ADA, BOB, b"", ADA + b"\r\n" + BOB, b"Authorization: Basic x"])
REQUESTS = st.builds(
    lambda method, address, fields, host, caller: (
        b"\r\n".join(
            part
            for part in [
                f"{method} {address} HTTP/1.1".encode(),
                host,
                caller,
                *fields,
            ]
            if part
        )
        + b"\r\n\r\n"
    ),
    st.sampled_from(["GET", "HEAD"]),
    ADDRESSES,
    FIELDS,
    st.one_of(st.just(b"Host: x"), HOSTS),
    CALLERS,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(REQUESTS, min_size=1, max_size=3))
def test_both_ways_give_the_same_bytes(lines: tuple[Line, Line], requests: list[bytes]) -> None:
    """Alone, repeated and pipelined: status, headers and body."""
    prompt, ordinary = lines
    for request in requests:
        wanted = ordinary.ask(request)
        assert prompt.ask(request) == wanted
        assert prompt.ask(request) == wanted
    assert prompt.ask(*requests) == ordinary.ask(*requests)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Site]:
    """A replica that ada may use, with an image."""
    with serve(tmp_path / "data", rules(token("ada", "all"))) as site:
        site.store.push(PUSHED, "1.0")
        yield site


@pytest.fixture
def line(guarded: Site) -> Iterator[Line]:
    """A connection to it."""
    line = Line(guarded)
    yield line
    line.close()


def get(address: str, *fields: bytes) -> bytes:
    """A request of ada's."""
    return b"\r\n".join([f"GET {address} HTTP/1.1".encode(), b"Host: x", ADA, *fields, b"", b""])


BY_TAG = get(f"/v2/{MINE}/manifests/1.0")
BY_DIGEST = get(f"/v2/{MINE}/manifests/{PUSHED.digest}")


def status(line: Line, request: bytes) -> int:
    """The status of the answer."""
    return int(line.ask(request)[0].split(b" ")[1])


def warm(line: Line, *requests: bytes) -> None:
    """Have each answered until it is remembered."""
    for request in requests:
        assert {status(line, request) for _ in range(4)} == {200}


def test_repeated_pulls_take_no_task(
    guarded: Site, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once credentials and content are known, nothing of the ordinary way is asked."""
    warm(line, BY_TAG)

    async def refuse(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(Access, "authenticate", refuse)
    warm(line, BY_TAG)


def test_a_moved_tag_is_seen_at_once(guarded: Site, line: Line) -> None:
    """The answer after the commit is the new one."""
    warm(line, BY_TAG)
    for number in range(5):
        moved = image(b"layer", annotations={"number": str(number)})
        guarded.store.push(moved, "1.0")
        assert moved.digest.encode() in line.ask(BY_TAG)[0]


def test_a_deletion_is_seen_at_once(guarded: Site, line: Line) -> None:
    """Of a tag, of a manifest, of a blob."""
    digest = guarded.store.push_blob(SMALL_BLOB)
    blob = get(f"/v2/{MINE}/blobs/{digest}")
    warm(line, BY_TAG, BY_DIGEST, blob)
    guarded.store.registry.delete_tag(REPOSITORY, Tag("1.0"))
    assert (status(line, BY_TAG), status(line, BY_DIGEST)) == (404, 200)
    guarded.store.registry.delete_manifest(REPOSITORY, PUSHED.digest)
    assert status(line, BY_DIGEST) == 404
    guarded.store.registry.delete_blob(REPOSITORY, digest)
    assert status(line, blob) == 404


@pytest.mark.parametrize("after", [EMPTY, rules(token("ada", "none")), rules(token("bob", "all"))])
def test_a_revocation_is_seen_at_once(guarded: Site, line: Line, after: AccessRules) -> None:
    """No answer is remembered longer than the right to it."""
    warm(line, BY_TAG)
    guarded.access.configure(after)

    assert status(line, BY_TAG) in (401, 403)


def test_every_answer_is_counted(guarded: Site, line: Line) -> None:
    """Remembered ones too, with who pulled; HEAD and 304 count nothing."""
    guarded.pulls.clear()
    line.ask(*[BY_TAG] * 3)
    for _ in range(7):
        line.ask(BY_TAG)
        line.ask(BY_TAG.replace(b"GET", b"HEAD"))
        line.ask(get(f"/v2/{MINE}/manifests/1.0", b"If-None-Match: *"))

    assert {pull.principal.name for pull in guarded.pulls} == {"ada"}
    assert len(guarded.pulls) == 10


def test_every_answer_is_logged_when_that_is_asked(
    guarded: Site, line: Line, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log of requests takes the ordinary way."""
    warm(line, BY_TAG)
    with caplog.at_level(logging.DEBUG, "connected_registry.endpoint.dispatch"):
        for _ in range(3):
            assert status(line, BY_TAG) == 200
    printed = capsys.readouterr().out

    assert printed.count("http.request") == 3


def test_behind_a_proxy_nothing_is_remembered(tmp_path: Path) -> None:
    """There the same bytes mean something else from another peer."""
    with serve(tmp_path / "data", trusted_proxies=("127.0.0.1",), login_server="x") as site:
        site.store.push(PUSHED, "1.0")
        line = Line(site)
        warm(line, BY_TAG)
        assert status(line, get(f"/v2/{MINE}/manifests/1.0", b"X-Forwarded-Host: y")) == 421
        line.close()
