from __future__ import annotations

import os
import socket
import time
from email import message_from_bytes

import httpx
import pytest

from connected_registry.endpoint.memory import SMALL
from connected_registry.oci.digest import Digest
from endpoint.serving import Site
from storage.store import OTHER, REPOSITORY, image

CONTENT = bytes(range(256)) * 20


def path(digest: str) -> str:
    """Where a blob is."""
    return f"/v2/{REPOSITORY}/blobs/{digest}"


@pytest.mark.parametrize("content", [b"", b"{}", CONTENT, os.urandom(3 * 1024 * 1024 + 1)])
def test_a_blob_is_served_whole(site: Site, client: httpx.Client, content: bytes) -> None:
    """Of any size, with everything clients check; HEAD says the same without it."""
    digest = site.store.push_blob(content)
    for method in ("GET", "HEAD"):
        answer = client.request(method, path(digest))
        assert answer.status_code == 200
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["ETag"] == f'"{digest}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.content == (content if method == "GET" else b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 5119),
        ("bytes=-500", 4620, 5119),
        ("bytes=2000-99999", 2000, 5119),
        ("bytes=-99999", 0, 5119),
    ],
)
def test_a_range_is_served(
    site: Site, client: httpx.Client, asked: str, first: int, last: int
) -> None:
    """206 with exactly the bytes that exist of it."""
    digest = site.store.push_blob(CONTENT)
    answer = client.get(path(digest), headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/5120"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.content == CONTENT[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=5120-", "bytes=500-0", "bytes=-0", "bytes=9-1"])
def test_a_range_of_nothing_is_refused_with_the_size(
    site: Site, client: httpx.Client, asked: str
) -> None:
    """416 tells how much there is."""
    answer = client.get(path(site.store.push_blob(CONTENT)), headers={"Range": asked})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */5120"
    assert answer.json()["errors"][0]["code"] == "RANGE_INVALID"


@pytest.mark.parametrize(
    "asked",
    [
        "items=0-1",
        "bytes=a-b",
        "bytes=0-1,0-1",
        "bytes=5-6,0-1",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 5000, 2)),
        "bytes=" + "0-0," * 10_000,
    ],
)
def test_ranges_that_mean_nothing_or_too_much_give_the_whole(
    site: Site, client: httpx.Client, asked: str
) -> None:
    """Which every client can use."""
    answer = client.get(path(site.store.push_blob(CONTENT)), headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_several_ranges_come_in_parts(site: Site, client: httpx.Client) -> None:
    """As podman asks for the pieces of a layer that it lacks."""
    digest = site.store.push_blob(CONTENT)
    answer = client.get(path(digest), headers={"Range": "bytes=0-9,100-199,-1"})
    head = b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n"
    parts = message_from_bytes(head + answer.content).get_payload()

    assert answer.status_code == 206
    assert len(answer.content) == int(answer.headers["Content-Length"])
    assert isinstance(parts, list)
    assert [
        (part["Content-Range"], part.get_payload(decode=True))
        for part in parts
        if not isinstance(part, str)
    ] == [
        ("bytes 0-9/5120", CONTENT[:10]),
        ("bytes 100-199/5120", CONTENT[100:200]),
        ("bytes 5119-5119/5120", CONTENT[-1:]),
    ]


def test_a_range_counts_only_for_the_content_it_was_meant_for(
    site: Site, client: httpx.Client
) -> None:
    """If-Range with another tag, or a date, gives the whole."""
    digest = site.store.push_blob(CONTENT)
    for condition, status in (
        (f'"{digest}"', 206),
        ('"other"', 200),
        ("Mon, 23 Nov 2026 00:00:00 GMT", 200),
    ):
        answer = client.get(path(digest), headers={"Range": "bytes=1-2", "If-Range": condition})
        assert answer.status_code == status


def test_head_ignores_ranges(site: Site, client: httpx.Client) -> None:
    """It tells of the whole."""
    answer = client.head(path(site.store.push_blob(CONTENT)), headers={"Range": "bytes=1-2"})

    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "5120")


def test_a_client_that_has_it_is_told_so(site: Site, client: httpx.Client) -> None:
    """304 without a body."""
    digest = site.store.push_blob(CONTENT)

    assert client.get(path(digest), headers={"If-None-Match": f'"{digest}"'}).status_code == 304


def test_a_blob_is_shown_only_where_it_was_pushed(site: Site, client: httpx.Client) -> None:
    """Knowing a digest opens no other repository."""
    digest = site.store.push_blob(CONTENT)
    for method in ("GET", "HEAD"):
        answer = client.request(method, f"/v2/{OTHER}/blobs/{digest}")
        assert answer.status_code == 404
    assert client.get(f"/v2/{OTHER}/blobs/{digest}").json()["errors"][0]["code"] == "BLOB_UNKNOWN"


def test_a_deleted_blob_is_gone_here_and_stays_elsewhere(site: Site, client: httpx.Client) -> None:
    """At once; and one that an image needs is not deleted."""
    digest = site.store.push_blob(CONTENT)
    site.store.push_blob(CONTENT, OTHER)
    assert client.get(path(digest)).status_code == 200

    assert client.delete(path(digest)).status_code == 202
    assert client.get(path(digest)).status_code == 404
    assert client.delete(path(digest)).status_code == 404
    assert client.get(f"/v2/{OTHER}/blobs/{digest}").content == CONTENT
    site.store.push(image(b"layer"), "1.0")
    assert client.delete(path(Digest.of(b"layer"))).status_code == 405


def test_a_client_that_leaves_early_is_no_error_and_stops_the_reading(site: Site) -> None:
    """Some open a range without an end and drop the connection after their piece."""
    size = 200 * 1024 * 1024
    digest = site.store.push_blob(bytes(size))
    with socket.create_connection(("127.0.0.1", site.port)) as connection:
        request = f"GET {path(digest)} HTTP/1.1\r\nHost: x\r\nRange: bytes=10-\r\n\r\n"
        connection.sendall(request.encode())
        assert connection.recv(1024).startswith(b"HTTP/1.1 206")
    end = time.monotonic() + 30
    while not site.pulls and time.monotonic() < end:
        time.sleep(0.01)
    [pull] = site.pulls

    assert pull.kind == "blob"
    assert pull.bytes < size // 2


def test_a_file_cut_short_while_it_is_sent_is_a_cut_answer(site: Site) -> None:
    """A client must never take it for whole; the connection breaks before the promised length."""
    digest = site.store.push_blob(os.urandom(1024 * 1024) * 48)
    with site.client() as client, client.stream("GET", path(digest)) as answer:
        chunks = answer.iter_bytes()
        next(chunks)
        os.truncate(site.store.blobs.path(digest), 100)
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)


@pytest.mark.parametrize("known", [False, True])
def test_a_damaged_file_is_no_answer_to_a_pull_and_no_excuse_to_a_push(
    site: Site, client: httpx.Client, known: bool
) -> None:
    """503 to who wants the bytes; 404 to who asks whether to send them, which mends it."""
    content = CONTENT + bytes(SMALL) if known else CONTENT
    digest = site.store.push_blob(content)
    if known:
        assert client.get(path(digest)).content == content
    os.truncate(site.store.blobs.path(digest), 100)
    answer = client.get(path(digest))
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert site.store.registry.take_suspects() == {digest}
    assert client.head(path(digest)).status_code == 404
    site.store.push_blob(content)
    assert client.get(path(digest)).content == content


def test_a_small_blob_in_memory_outlives_its_file(site: Site, client: httpx.Client) -> None:
    """Its bytes were checked when they were read; what became of the file harms no pull."""
    digest = site.store.push_blob(CONTENT)
    client.get(path(digest))
    site.store.blobs.path(digest).write_bytes(bytes(len(CONTENT)))

    assert client.get(path(digest)).content == CONTENT


def test_a_small_blob_is_checked_when_it_is_read(site: Site, client: httpx.Client) -> None:
    """A file of the right size with other bytes is no answer."""
    digest = site.store.push_blob(CONTENT)
    site.store.blobs.path(digest).write_bytes(bytes(len(CONTENT)))

    assert client.get(path(digest)).status_code == 503
    assert site.store.registry.take_suspects() == {digest}


def test_blob_pulls_are_counted_by_bytes_sent(site: Site, client: httpx.Client) -> None:
    """A range counts what it is."""
    digest = site.store.push_blob(CONTENT)
    client.head(path(digest))
    client.get(path(digest), headers={"Range": "bytes=0-99"})
    client.get(path(digest))

    assert [(pull.kind, pull.reference, pull.bytes) for pull in site.pulls] == [
        ("blob", digest, 100),
        ("blob", digest, len(CONTENT)),
    ]
