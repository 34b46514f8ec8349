"""The write verbs against a real registry of ours, docker-registry's habits, and liars."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from connected_registry.errors import ParentFailed, ParentLied, ParentOffline, ParentReadOnly
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.upload import ParentUploads, Source
from peers.clients import client_of
from peers.images import make_image
from peers.scripted import Recorded, Reply, ScriptedRegistry

REPOSITORY = RepositoryName("team/app")
START = "/v2/team/app/blobs/uploads/"
SESSION = "/upload/1"
DATA = bytes(range(256)) * 16 * 1024  # 4 MiB


class Remembered:
    """Addresses of uploads, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get(self, repository: RepositoryName, digest: Digest) -> str | None:
        """What was kept."""
        return self.kept.get(f"{repository} {digest}")

    async def keep(self, repository: RepositoryName, digest: Digest, location: str | None) -> None:
        """Keep it, or forget."""
        self.kept.pop(f"{repository} {digest}", None)
        if location is not None:
            self.kept[f"{repository} {digest}"] = location


class Receiving:
    """A registry's side of one upload: takes pieces in order and says how much it has."""

    def __init__(self, registry: ScriptedRegistry) -> None:
        self.data = b""
        self.whole: bytes | None = None
        self.starts = 0
        registry.on(START, self.start, method="POST")
        registry.on(SESSION, self.patch, method="PATCH")
        registry.on(SESSION, self.close, method="PUT")
        registry.on(SESSION, self.status)

    def start(self, _request: Recorded) -> Reply:
        """A new session."""
        self.starts += 1
        self.data = b""
        return Reply(202, {"Location": SESSION, "Range": "0-0"})

    def patch(self, request: Recorded) -> Reply:
        """One piece, in order."""
        found = re.fullmatch(r"(\d+)-(\d+)", request.headers["content-range"])
        assert found is not None
        if int(found[1]) != len(self.data):
            return Reply(416, {"Location": SESSION, "Range": self.range})
        self.data += request.body
        return Reply(202, {"Location": SESSION, "Range": self.range})

    def status(self, _request: Recorded) -> Reply:
        """How far it is."""
        return Reply(204, {"Location": SESSION, "Range": self.range})

    def close(self, request: Recorded) -> Reply:
        """The end, perhaps with a last piece."""
        self.whole = self.data + request.body
        if request.query["digest"] != [Digest.of(self.whole)]:
            return Reply.error(400, "DIGEST_INVALID")
        return Reply(201, {"Location": "/v2/team/app/blobs/x"})

    @property
    def range(self) -> str:
        """As docker-registry says it."""
        return f"0-{max(len(self.data) - 1, 0)}"


def source(data: bytes) -> Source:
    """A blob in memory."""

    async def read(offset: int, count: int) -> bytes:
        return data[offset : offset + count]

    return Source(Digest.of(data), len(data), read)


@asynccontextmanager
async def uploads_to(
    registry: ScriptedRegistry, remembered: Remembered | None = None
) -> AsyncIterator[ParentUploads]:
    """The write verbs, unlimited."""

    async def pace(_count: int) -> None:
        """As fast as can be."""

    async with client_of(registry, attempts=1) as client:
        yield ParentUploads(client.session, remembered or Remembered(), pace=pace)


async def test_a_small_blob_goes_in_one_piece() -> None:
    """One POST and one PUT, and nothing to remember."""
    remembered = Remembered()
    with ScriptedRegistry() as registry:
        receiving = Receiving(registry)
        async with uploads_to(registry, remembered) as uploads:
            await uploads.push_blob(REPOSITORY, source(b"small"))
        assert receiving.whole == b"small"
        assert [each.method for each in registry.requests] == ["POST", "PUT"]
    assert remembered.kept == {}


@pytest.mark.parametrize("size", [0, 1, 2, 1024 * 1024, 1024 * 1024 + 1, len(DATA)])
async def test_blobs_of_every_size_arrive(size: int) -> None:
    """Also empty ones, and those around the size of a piece."""
    with ScriptedRegistry() as registry:
        receiving = Receiving(registry)
        async with uploads_to(registry) as uploads:
            await uploads.push_blob(REPOSITORY, source(DATA[:size]))
        assert receiving.whole == DATA[:size]


async def test_an_upload_goes_on_where_it_was_cut() -> None:
    """What had arrived of the piece that was cut is asked for, and not sent again."""
    remembered = Remembered()
    with ScriptedRegistry() as registry:
        receiving = Receiving(registry)

        def cut(request: Recorded) -> Reply:
            receiving.data += request.body[:1000]
            return Reply(raw=b"")

        registry.on(SESSION, receiving.patch, cut, receiving.patch, method="PATCH")
        async with uploads_to(registry, remembered) as uploads:
            with pytest.raises(ParentOffline):
                await uploads.push_blob(REPOSITORY, source(DATA))
        assert remembered.kept
        async with uploads_to(registry, remembered) as uploads:
            await uploads.push_blob(REPOSITORY, source(DATA))
        assert (receiving.whole, receiving.starts) == (DATA, 1)
        sent = sum(len(each.body) for each in registry.requests)
        assert sent < len(DATA) + 2 * 1024 * 1024
    assert remembered.kept == {}


async def test_an_upload_that_the_parent_forgot_begins_again() -> None:
    """As docker-registry 2 forgets one whose last piece was cut."""
    remembered = Remembered()
    blob = source(DATA)
    await remembered.keep(REPOSITORY, blob.digest, "/upload/gone")
    with ScriptedRegistry() as registry:
        receiving = Receiving(registry)
        registry.on("/upload/gone", Reply.error(404, "BLOB_UPLOAD_UNKNOWN"))
        async with uploads_to(registry, remembered) as uploads:
            await uploads.push_blob(REPOSITORY, blob)
        assert (receiving.whole, receiving.starts) == (DATA, 1)


async def test_a_session_lost_in_the_middle_is_begun_again_once() -> None:
    """Then it is the parent's fault and told."""
    with ScriptedRegistry() as registry:
        receiving = Receiving(registry)
        lost = Reply.error(404, "BLOB_UPLOAD_UNKNOWN")
        registry.on(SESSION, receiving.patch, lost, receiving.patch, method="PATCH")
        async with uploads_to(registry) as uploads:
            await uploads.push_blob(REPOSITORY, source(DATA))
        assert (receiving.whole, receiving.starts) == (DATA, 2)
        registry.on(SESSION, lost, method="PATCH")
        async with uploads_to(registry) as uploads:
            with pytest.raises(ParentFailed):
                await uploads.push_blob(REPOSITORY, source(DATA))


async def test_a_blob_is_mounted_where_that_is_possible() -> None:
    """201 ends it; 202 is an upload that is gone on with."""
    with ScriptedRegistry() as registry:
        receiving = Receiving(registry)
        registry.on(START, Reply(201, {"Location": "/v2/x"}), receiving.start, method="POST")
        async with uploads_to(registry) as uploads:
            await uploads.push_blob(REPOSITORY, source(b"1"), [RepositoryName("team/other")])
            assert receiving.whole is None
            await uploads.push_blob(REPOSITORY, source(b"2"), [RepositoryName("team/other")])
        assert receiving.whole == b"2"
        assert registry.requests[0].query["from"] == ["team/other"]


async def test_an_address_on_another_host_gets_no_credentials() -> None:
    """Where a parent sends uploads elsewhere, only the bytes go there."""
    with ScriptedRegistry() as registry, ScriptedRegistry() as storage:
        registry.on(START, Reply(202, {"Location": f"{storage.url}/put"}), method="POST")
        storage.on("/put", Reply(201), method="PUT")
        async with uploads_to(registry) as uploads:
            await uploads.push_blob(REPOSITORY, source(b"data"))
        [request] = storage.requests
        assert (request.body, request.authorization) == (b"data", None)


async def test_a_manifest_stored_as_another_is_a_lie() -> None:
    """The parent's digest must be ours."""
    image = make_image("app")
    manifest = Manifest.parse(image.manifest.data, image.manifest.media_type)
    with ScriptedRegistry() as registry:
        wrong = {"Docker-Content-Digest": Digest.of(b"other")}
        registry.on("/v2/team/app/manifests/1", Reply(201, wrong), method="PUT")
        async with uploads_to(registry) as uploads:
            with pytest.raises(ParentLied):
                await uploads.put_manifest(REPOSITORY, Tag("1"), manifest)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("This operation is not allowed on this registry.", ParentReadOnly),
        ("The operation is unsupported.", ParentFailed),
    ],
)
async def test_a_405_is_the_parents_mode_or_the_items_own(
    message: str, error: type[ParentFailed]
) -> None:
    """Only the words of a ReadOnly replica speak for the parent as a whole."""
    with ScriptedRegistry() as registry:
        registry.on(START, Reply.error(405, "DENIED", message), method="POST")
        async with uploads_to(registry) as uploads:
            with pytest.raises(ParentFailed) as raised:
                await uploads.push_blob(REPOSITORY, source(b"data"))
    assert type(raised.value) is error
