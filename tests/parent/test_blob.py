"""Blobs as streams: ranges, redirects, cuts and lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from connected_registry.errors import (
    ParentError,
    ParentFailed,
    ParentLied,
    ParentNotFound,
    ParentOffline,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.client import ParentClient
from peers.clients import client_of
from peers.images import make_image
from peers.proxy import CountingProxy
from peers.scripted import HONEST, Recorded, Reply, ScriptedRegistry, ranged

APP = RepositoryName("team/app")
IMAGE = make_image(size=500_000)
LAYER = IMAGE.layers[0]
DIGEST = Digest(LAYER.digest)
PATH = f"/v2/team/app/blobs/{DIGEST}"
SIZE = LAYER.size


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    """A registry that holds an image with one layer of half a megabyte."""
    with ScriptedRegistry() as registry:
        registry.hold(IMAGE, APP, "latest")
        yield registry


async def collect(client: ParentClient, received: bytearray, offset: int = 0) -> None:
    """Add what comes to ``received``, which keeps it when the stream fails."""
    async with client.blob(APP, DIGEST, offset, size=SIZE) as stream:
        async for chunk in stream.chunks:
            received += chunk


async def read(
    client: ParentClient, offset: int = 0, size: int | None = SIZE
) -> tuple[int, int | None, bytes]:
    """Offset granted, size told, and the bytes."""
    async with client.blob(APP, DIGEST, offset, size=size) as stream:
        content = b"".join([chunk async for chunk in stream.chunks])
        return stream.offset, stream.size, content


@pytest.mark.parametrize("size", [None, SIZE])
async def test_a_whole_blob(registry: ScriptedRegistry, size: int | None) -> None:
    """From 0 all bytes come, and the size is told."""
    async with client_of(registry) as client:
        assert await read(client, 0, size) == (0, SIZE, LAYER.data)
    assert "range" not in registry.requests[0].headers


async def test_the_rest_of_a_blob(registry: ScriptedRegistry) -> None:
    """From an offset on only the rest comes."""
    async with client_of(registry) as client:
        assert await read(client, 1000) == (1000, SIZE, LAYER.data[1000:])
        assert client.bytes_received == SIZE - 1000


async def test_a_server_without_ranges_grants_offset_0(registry: ScriptedRegistry) -> None:
    """A 200 in answer to a range is the whole blob, and said to be."""
    registry.on(PATH, Reply(200, {}, LAYER.data))
    async with client_of(registry) as client:
        assert await read(client, 1000) == (0, SIZE, LAYER.data)


async def test_an_offset_beyond_the_blob_starts_again(registry: ScriptedRegistry) -> None:
    """Where the server says that there is nothing behind the offset, the whole is asked for."""
    async with client_of(registry) as client:
        assert await read(client, SIZE + 5, None) == (0, SIZE, LAYER.data)


async def test_a_validator_goes_along_with_a_range(registry: ScriptedRegistry) -> None:
    """What the parent itself said of the blob is asked about when resuming."""
    async with client_of(registry) as client:
        await read(client)
        await read(client, 1000)
    assert registry.requests[-1].headers["if-range"] == f'"{DIGEST}"'


async def test_a_weak_validator_is_not_used(registry: ScriptedRegistry) -> None:
    """If-Range takes strong validators only (RFC 9110, 13.1.5)."""
    registry.on(PATH, Reply(200, {"ETag": 'W/"x"'}, LAYER.data), HONEST)
    async with client_of(registry) as client:
        await read(client)
        await read(client, 1000)
    assert "if-range" not in registry.requests[-1].headers


async def test_a_blob_from_storage_is_resumed_without_our_validator(
    registry: ScriptedRegistry,
) -> None:
    """Range goes along to a storage host, a validator of the parent and credentials do not."""
    with ScriptedRegistry() as storage:
        storage.on("/s", lambda request: ranged(LAYER.data, request.headers.get("range"), {}))
        moved = Reply(307, {"Location": f"{storage.url}/s?sig=1"})
        registry.on(PATH, Reply(401, {"WWW-Authenticate": "Basic"}), HONEST, moved)
        async with client_of(registry, ("ada", "lace")) as client:
            await read(client)
            assert await read(client, 1000) == (1000, SIZE, LAYER.data[1000:])
        headers = storage.requests[0].headers
    assert headers["range"] == "bytes=1000-"
    assert "if-range" not in headers
    assert "authorization" not in headers


async def test_a_validator_of_storage_is_not_shown_to_the_parent(
    registry: ScriptedRegistry,
) -> None:
    """Storage hosts have validators of their own, which would bring the whole blob again."""
    with ScriptedRegistry() as storage:
        storage.on("/s", Reply(200, {"ETag": '"of storage"'}, LAYER.data))
        registry.on(PATH, Reply(307, {"Location": f"{storage.url}/s"}), HONEST)
        async with client_of(registry) as client:
            await read(client)
            assert await read(client, 1000) == (1000, SIZE, LAYER.data[1000:])
    assert "if-range" not in registry.requests[-1].headers


def content_range(text: str, body: bytes, **headers: str) -> Reply:
    """A 206 that says this of its body."""
    return Reply(206, {"Content-Range": text, **headers}, body)


REST = LAYER.data[1000:]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (content_range(f"bytes 999-{SIZE - 1}/{SIZE}", LAYER.data[999:]), ParentLied),
        (content_range(f"bytes 1001-{SIZE - 1}/{SIZE}", LAYER.data[1001:]), ParentLied),
        (content_range(f"bytes 1000-{SIZE - 1}/{SIZE + 1}", REST), ParentLied),
        (content_range(f"bytes 1000-{SIZE}/{SIZE}", REST), ParentLied),
        (content_range(f"bytes 1000-999/{SIZE}", REST), ParentLied),
        (content_range(f"bytes 1000-{SIZE - 2}/{SIZE}", REST), ParentLied),
        (replace(content_range(f"bytes 1000-{SIZE}/{SIZE}", REST), chunked=True), ParentLied),
        (replace(content_range(f"bytes 1000-999/{SIZE}", REST), chunked=True), ParentLied),
        (content_range(f"bytes 1000-{SIZE - 1}", REST), ParentFailed),
        (content_range("", REST), ParentFailed),
        (content_range("bytes */5", REST), ParentFailed),
        (content_range("items 1-2/3", REST), ParentFailed),
        (Reply(206, {"Content-Type": "multipart/byteranges; boundary=x"}, REST), ParentFailed),
        (Reply(200, {}, LAYER.data + b"x"), ParentLied),
        (Reply(200, {}, LAYER.data[:-1]), ParentLied),
        (Reply(200, {"Content-Encoding": "gzip"}, LAYER.data), ParentLied),
        (Reply(204), ParentFailed),
        (Reply(404), ParentNotFound),
    ],
)
async def test_answers_that_do_not_fit_are_refused_before_a_byte(
    registry: ScriptedRegistry, reply: Reply, error: type[ParentError]
) -> None:
    """A wrong start, total, length or encoding is told on entering."""
    registry.on(PATH, reply)
    async with client_of(registry) as client:
        with pytest.raises(error):
            async with client.blob(APP, DIGEST, 1000, size=SIZE):
                pytest.fail("a stream was opened")


async def test_a_range_without_a_total_is_taken(registry: ScriptedRegistry) -> None:
    """A server that does not know the total is believed about the rest."""
    registry.on(PATH, content_range(f"bytes 1000-{SIZE - 1}/*", REST))
    async with client_of(registry) as client:
        assert await read(client, 1000) == (1000, SIZE, REST)


async def test_a_part_that_ends_early_is_offline(registry: ScriptedRegistry) -> None:
    """A 206 that covers less than the rest is read, and then asks to be resumed."""
    registry.on(PATH, content_range(f"bytes 1000-1999/{SIZE}", LAYER.data[1000:2000]))
    received = bytearray()
    async with client_of(registry) as client:
        with pytest.raises(ParentOffline):
            await collect(client, received, 1000)
    assert received == LAYER.data[1000:2000]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(200, {}, LAYER.data[:-1], chunked=True), ParentLied),
        (Reply(200, {}, LAYER.data + b"x", chunked=True), ParentLied),
        (Reply(200, {}, LAYER.data, endless=True), ParentLied),
        (Reply(200, {}, LAYER.data, cut=1000), ParentOffline),
        (Reply(200, {}, LAYER.data, cut=1000, reset=True), ParentOffline),
        (Reply(200, {}, LAYER.data, chunked=True, cut=1000), ParentOffline),
    ],
)
async def test_bodies_of_the_wrong_length_are_caught(
    registry: ScriptedRegistry, reply: Reply, error: type[ParentError]
) -> None:
    """Too much or too little is told at the end, and never more than promised is handed out."""
    registry.on(PATH, reply)
    received = bytearray()
    async with client_of(registry) as client:
        with pytest.raises(error):
            await collect(client, received)
    assert LAYER.data.startswith(received)


async def test_a_cut_link_is_resumed_with_each_byte_once(registry: ScriptedRegistry) -> None:
    """What came before the cut and what is asked for after it make the whole."""
    with CountingProxy(registry.host, registry.port) as link:
        link.cut_after(200_000)
        received = bytearray()
        async with client_of(link) as client:
            with pytest.raises(ParentOffline):
                await collect(client, received)
            offset, _, rest = await read(client, len(received))
            assert offset == len(received)
            assert bytes(received) + rest == LAYER.data
            assert client.bytes_received == SIZE


async def test_a_stream_left_early_frees_the_connection(registry: ScriptedRegistry) -> None:
    """Leaving a stream in the middle leaves nothing behind that blocks the next."""
    async with client_of(registry, connections=1) as client:
        for _ in range(3):
            async with client.blob(APP, DIGEST, 0, size=SIZE) as stream:
                async for _chunk in stream.chunks:
                    break
        assert (await read(client))[2] == LAYER.data


async def test_the_body_of_a_refusal_is_bounded(registry: ScriptedRegistry) -> None:
    """Blobs may be of any size, the words of an error may not."""
    registry.on(PATH, Reply(404, {}, bytes(65536), endless=True))
    async with client_of(registry) as client:
        with pytest.raises(ParentFailed, match="more than"):
            await read(client)


async def test_a_drip_is_cut(registry: ScriptedRegistry) -> None:
    """A blob that comes in drops is given up as offline, to be resumed later."""
    registry.on(PATH, Reply(200, {}, LAYER.data, drip=(10, 0.02)))
    async with client_of(registry, floor=10_000.0, floor_window=0.2) as client:
        with pytest.raises(ParentOffline, match="sent only"):
            await read(client)


async def test_a_small_blob_whole_and_checked(registry: ScriptedRegistry) -> None:
    """A config is read at once."""
    config = IMAGE.blobs[0]
    async with client_of(registry) as client:
        assert await client.get_blob(APP, Digest(config.digest), config.size) == config.data


async def test_a_small_blob_with_other_bytes_is_a_lie(registry: ScriptedRegistry) -> None:
    """Bytes of the right length and the wrong digest are not handed out."""
    registry.on(PATH, Reply(200, {}, bytes(SIZE)))
    async with client_of(registry) as client:
        with pytest.raises(ParentLied):
            await client.get_blob(APP, DIGEST, SIZE)


async def test_a_blob_too_big_to_read_at_once(registry: ScriptedRegistry) -> None:
    """Nothing over the limit is asked for."""
    async with client_of(registry, manifest_body=1000) as client:
        with pytest.raises(ParentFailed):
            await client.get_blob(APP, DIGEST, SIZE)
    assert registry.requests == []


async def test_opening_is_tried_again(registry: ScriptedRegistry) -> None:
    """A fault before the first byte is the client's to get over."""

    def fail(_: Recorded) -> Reply:
        return Reply(503)

    registry.on(PATH, fail, HONEST)
    async with client_of(registry) as client:
        assert (await read(client))[2] == LAYER.data
