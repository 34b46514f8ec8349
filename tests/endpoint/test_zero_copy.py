"""Large blobs go from file to socket in the kernel; what clients see is the same."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from connected_registry.endpoint import blobs
from connected_registry.endpoint.zero_copy import Senders, Transfer
from connected_registry.oci.digest import Digest
from endpoint.serving import Site
from storage.store import REPOSITORY

LARGE = os.urandom(1 << 20) * 24


@pytest.fixture
def digest(site: Site) -> Digest:
    """A large blob."""
    return site.store.push_blob(LARGE)


@pytest.fixture
def no_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other form, which reads pieces, fails."""

    async def refuse(*_: object) -> None:
        raise AssertionError("read into memory")

    monkeypatch.setattr(blobs.BlobResponse, "_send_piece", refuse)


def request(digest: str, *fields: bytes) -> bytes:
    """A GET of the blob."""
    line = f"GET /v2/{REPOSITORY}/blobs/{digest} HTTP/1.1".encode()
    return b"\r\n".join([line, b"Host: x", *fields, b"", b""])


@pytest.mark.usefixtures("no_pieces")
def test_whole_and_ranges_are_sent_without_being_read(
    site: Site, client: httpx.Client, digest: Digest
) -> None:
    """Plain HTTP: nothing of the file passes through the interpreter."""
    path = f"/v2/{REPOSITORY}/blobs/{digest}"
    several = client.get(path, headers={"Range": "bytes=5-9,1000000-2999999"}).content

    assert client.get(path).content == LARGE
    assert client.get(path, headers={"Range": "bytes=7-20000000"}).content == LARGE[7:20000001]
    assert LARGE[1000000:3000000] in several


@pytest.mark.usefixtures("no_pieces")
def test_requests_sent_ahead_are_answered_in_order(site: Site, digest: Digest) -> None:
    """Answers never mix, however many files are asked for at once."""
    small = request(digest, b"Range: bytes=1-10")
    last = request(digest, b"Range: bytes=0-0", b"Connection: close")
    answer = site.raw(small + request(digest) + small + request(digest) + last)

    assert answer.count(b"HTTP/1.1 ") == 5
    assert answer.count(LARGE) == 2
    assert answer.endswith(b"\r\n\r\n" + LARGE[:1])


@pytest.mark.usefixtures("no_pieces")
def test_many_slow_clients_hold_up_nobody(site: Site, digest: Digest) -> None:
    """More of them than threads; then each gets all of it."""
    slow = [socket.create_connection(("127.0.0.1", site.port), timeout=30) for _ in range(12)]
    for connection in slow:
        connection.sendall(request(digest, b"Connection: close"))
        assert connection.recv(10)
    with site.client() as client:
        assert client.get(f"/v2/{REPOSITORY}/blobs/{digest}").content == LARGE
    for connection in slow:
        got = bytearray()
        while piece := connection.recv(1 << 20):
            got += piece
        assert got.endswith(LARGE)
        connection.close()


def test_a_client_that_leaves_ends_the_transfer(site: Site, digest: Digest) -> None:
    """Nothing stays open for it, and what was sent is counted."""
    file = site.store.blobs.path(digest)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
            connection.sendall(request(digest))
            connection.recv(100_000)
    with site.client() as client:
        while len(site.pulls) < 5:
            client.get("/v2/")
    while is_open(file):
        threading.Event().wait(0.01)

    assert all(pull.bytes < len(LARGE) for pull in site.pulls)


def is_open(file: Path) -> bool:
    """Whether this process has the file open."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if link.readlink() == file:
                return True
    return False


async def test_a_file_system_without_it_is_read(tmp_path: Path) -> None:
    """What the kernel cannot send is an error that the caller can tell from others."""
    left, right = socket.socketpair()
    read, write = os.pipe()
    with left, right:
        left.setblocking(False)
        transfer = Transfer(left.fileno(), read, None, 10)
        with pytest.raises(OSError, match=r"Invalid argument|Illegal seek") as caught:
            await asyncio.wait_for(Senders().send(transfer), 30)
    os.close(read)
    os.close(write)

    assert caught.value.errno in blobs.CANNOT
