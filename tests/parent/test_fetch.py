"""Blobs over a link that breaks, from parents that misbehave."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connected_registry.errors import (
    DiskFull,
    ParentFailed,
    ParentLied,
    ParentNotFound,
    ParentOffline,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.client import ParentAddress, ParentClient
from connected_registry.parent.fetch import TRIES, Fetcher
from connected_registry.parent.progress import Tracker
from connected_registry.parent.rate import ByteRate, Meter
from connected_registry.storage.blobs import BlobStore, Partial
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.ledger import Ledger
from peers.images import Image, make_image
from peers.proxy import CountingProxy
from peers.scripted import HONEST, Recorded, Reply, ScriptedRegistry
from peers.site import HASTY, Clock

APP = RepositoryName("team/app")
WEB = RepositoryName("team/web")


class Bench:
    """A fetcher on real parts."""

    def __init__(self, fetcher: Fetcher, blobs: BlobStore, tracker: Tracker) -> None:
        self.fetcher = fetcher
        self.blobs = blobs
        self.tracker = tracker

    async def fetch(self, image: Image, repository: RepositoryName = APP) -> Digest:
        """Fetch an image's first layer."""
        layer = image.layers[0]
        await self.fetcher.fetch(repository, Digest(layer.digest), layer.size)
        return Digest(layer.digest)


@asynccontextmanager
async def bench(
    folder: Path, parent: str, concurrency: int = 3, blobs: BlobStore | None = None
) -> AsyncIterator[Bench]:
    """A fetcher over an open folder."""
    with DataFolder.open(folder) as data, Database(data.database) as database:
        address = ParentAddress(parent, protocol="http")
        async with ParentClient(address, user_agent="tests", limits=HASTY) as client:
            store, tracker = blobs or BlobStore(data), Tracker()
            fetcher = Fetcher(
                client,
                store,
                concurrency=concurrency,
                rate=ByteRate(None),
                meter=Meter(Ledger(database), Clock(), lambda: client.bytes_received),
                tracker=tracker,
                sleep=lambda _seconds: asyncio.sleep(0),
            )
            yield Bench(fetcher, store, tracker)


def layer_path(image: Image, repository: str = "team/app") -> str:
    """Where its first layer is asked for."""
    return f"/v2/{repository}/blobs/{image.layers[0].digest}"


async def test_a_blob_that_is_here_is_not_asked_for(tmp_path: Path) -> None:
    """Content that any repository brought serves all."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        async with bench(tmp_path / "site", parent.address) as site:
            site.blobs.put(image.layers[0].data)
            await site.fetch(image)
            assert parent.requests == []


async def test_cuts_cost_what_was_in_flight_and_no_more(tmp_path: Path) -> None:
    """Five cuts at random places: the bytes over the link are the blob's and little else."""
    image = make_image("app", size=12_000_000)
    layer = image.layers[0]
    cuts = sorted(random.Random(7).sample(range(100_000, layer.size - 100_000), 5))
    with (
        ScriptedRegistry() as parent,
        CountingProxy("127.0.0.1", parent.port) as link,
    ):
        parent.hold(image, "team/app", "1.0")
        done = 0

        def cut(_request: Recorded) -> Reply:
            nonlocal done
            if cuts:
                link.cut_after(cuts[0] - done)
                done = cuts.pop(0)
            return HONEST

        parent.on(layer_path(image), cut)
        async with bench(tmp_path / "site", link.address) as site:
            digest = await site.fetch(image)
            assert site.blobs.read(digest) == layer.data
            assert link.cuts == 5
            assert layer.size <= link.bytes_down <= layer.size + 5 * 65_536
            assert site.tracker.bytes_done == layer.size


async def test_progress_resets_the_count_of_tries(tmp_path: Path) -> None:
    """Many more cuts than tries are survived as long as each answer brings something."""
    image = make_image("app", size=500_000)
    layer = image.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")

        def trickle(request: Recorded) -> Reply:
            start = int(request.headers.get("range", "bytes=0-")[6:-1])
            headers = {"Content-Range": f"bytes {start}-{layer.size - 1}/{layer.size}"}
            return Reply(206, headers, layer.data[start:], cut=20_000)

        parent.on(layer_path(image), trickle)
        async with bench(tmp_path / "site", parent.address) as site:
            await site.fetch(image)
            assert len(parent.asked(layer_path(image))) > 4 * TRIES


async def test_a_parent_that_brings_nothing_is_given_up(tmp_path: Path) -> None:
    """After some tries without a byte the blob fails with the parent's own failure."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        parent.on(layer_path(image), Reply(200, {}, image.layers[0].data, cut=0))
        async with bench(tmp_path / "site", parent.address) as site:
            with pytest.raises(ParentOffline):
                await site.fetch(image)
            assert len(parent.asked(layer_path(image))) == TRIES


async def test_a_parent_without_ranges_loses_nothing_that_is_here(tmp_path: Path) -> None:
    """Sent the whole blob again, we keep the part that is here and take the rest."""
    image = make_image("app", size=300_000)
    layer = image.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        whole = Reply(200, {}, layer.data)
        parent.on(
            layer_path(image),
            Reply(200, {}, layer.data, cut=200_000),
            Reply(200, {}, layer.data, cut=50_000),
            whole,
        )
        async with bench(tmp_path / "site", parent.address) as site:
            digest = await site.fetch(image)
            assert site.blobs.read(digest) == layer.data
            assert site.tracker.bytes_done == layer.size


async def test_a_damaged_partial_is_fetched_once_more_from_the_start(tmp_path: Path) -> None:
    """What an earlier try left on disk may be wrong; the second mismatch is the parent's."""
    image = make_image("app", size=100_000)
    layer = image.layers[0]
    digest = Digest(layer.digest)
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        async with bench(tmp_path / "site", parent.address) as site:
            with site.blobs.partial(digest, layer.size) as partial:
                partial.write(bytes(40_000))
            await site.fetch(image)
            assert site.blobs.read(digest) == layer.data
            asked = [each.headers.get("range") for each in parent.asked(layer_path(image))]
            assert asked == ["bytes=40000-", None]


async def test_a_complete_but_damaged_partial_is_fetched_again(tmp_path: Path) -> None:
    """All bytes on disk and the wrong hash: one request from the start."""
    image = make_image("app", size=100_000)
    layer = image.layers[0]
    digest = Digest(layer.digest)
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        async with bench(tmp_path / "site", parent.address) as site:
            with site.blobs.partial(digest, layer.size) as partial:
                partial.write(bytes(layer.size))
            await site.fetch(image)
            assert site.blobs.read(digest) == layer.data


async def test_wrong_bytes_are_the_parents_lie(tmp_path: Path) -> None:
    """A whole answer with another hash is not asked for again, and nothing of it is kept."""
    image = make_image("app", size=100_000)
    with ScriptedRegistry() as parent:
        parent.on(layer_path(image), Reply(200, {}, bytes(image.layers[0].size)))
        async with bench(tmp_path / "site", parent.address) as site:
            with pytest.raises(ParentLied):
                await site.fetch(image)
            assert len(parent.asked(layer_path(image))) == 1
            assert site.blobs.partial_size(Digest(image.layers[0].digest)) == 0


async def test_those_who_wait_for_a_lie_do_not_fetch_it_again(tmp_path: Path) -> None:
    """Three images that share a bad blob fail together, for the price of one."""
    image = make_image("app", size=100_000)
    with ScriptedRegistry() as parent:
        parent.on(layer_path(image), Reply(200, {}, bytes(image.layers[0].size)))
        async with bench(tmp_path / "site", parent.address) as site:
            ends = await asyncio.gather(
                *(site.fetch(image) for _ in range(3)), return_exceptions=True
            )
            assert [type(end) for end in ends] == [ParentLied] * 3
            assert len(parent.asked(layer_path(image))) == 1


async def test_one_flight_for_all_who_want_a_blob(tmp_path: Path) -> None:
    """Asked for by many at once, it comes once."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app", size=500_000), "team/app", "1.0")
        async with bench(tmp_path / "site", parent.address, concurrency=8) as site:
            await asyncio.gather(*(site.fetch(image) for _ in range(8)))
            assert len(parent.asked(layer_path(image))) == 1


async def test_a_blob_refused_in_one_repository_is_asked_for_in_the_other(
    tmp_path: Path,
) -> None:
    """What the parent hides in one repository it may give in another."""
    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/web", "1.0")
        async with bench(tmp_path / "site", parent.address) as site:
            ends = await asyncio.gather(
                site.fetch(image, APP), site.fetch(image, WEB), return_exceptions=True
            )
            assert isinstance(ends[0], ParentNotFound)
            assert ends[1] == image.layers[0].digest


async def test_a_cancelled_flight_is_taken_over(tmp_path: Path) -> None:
    """Where one image is given up, the other that shares the blob goes on with what came."""
    image = make_image("app", size=400_000)
    layer = image.layers[0]
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        slow = Reply(200, {}, layer.data, drip=(50_000, 0.01), endless=True)
        parent.on(layer_path(image), slow, HONEST)
        async with bench(tmp_path / "site", parent.address) as site:
            first = asyncio.create_task(site.fetch(image))
            while site.tracker.bytes_done < 100_000:
                await asyncio.sleep(0.005)
            second = asyncio.create_task(site.fetch(image))
            await asyncio.sleep(0)
            first.cancel()
            assert site.blobs.read(await second) == layer.data
            asked = [each.headers.get("range") for each in parent.asked(layer_path(image))]
            assert asked[0] is None
            assert asked[1] is not None


async def test_cancelled_while_its_file_is_opened(tmp_path: Path) -> None:
    """The blob is let go, so that the next one who wants it is not kept out for ever."""
    opening, go_on, opened = threading.Event(), threading.Event(), threading.Event()

    class Slow(BlobStore):
        """Opens a download only when told to."""

        def partial(self, digest: Digest, size: int) -> Partial:
            opening.set()
            go_on.wait()
            try:
                return super().partial(digest, size)
            finally:
                opened.set()

    with ScriptedRegistry() as parent:
        image = parent.hold(make_image("app"), "team/app", "1.0")
        with DataFolder.open(tmp_path / "blobs") as folder:
            slow = Slow(folder)
            async with bench(tmp_path / "site", parent.address, blobs=slow) as site:
                fetching = asyncio.create_task(site.fetch(image))
                await asyncio.to_thread(opening.wait)
                fetching.cancel()
                await asyncio.sleep(0)
                go_on.set()
                await asyncio.wait([fetching])
                await asyncio.to_thread(opened.wait)

                with slow.partial(Digest(image.layers[0].digest), image.layers[0].size) as again:
                    assert again.offset == 0
    assert fetching.cancelled()


async def test_no_more_than_so_many_at_a_time(tmp_path: Path) -> None:
    """The policy's concurrency bounds the requests under way."""
    under_way, most = 0, 0
    with ScriptedRegistry() as parent:
        images = [parent.hold(make_image(n, size=30_000), "team/app", f"{n}") for n in range(9)]

        async with bench(tmp_path / "site", parent.address, concurrency=2) as site:
            opened = site.fetcher._client.blob

            @asynccontextmanager
            async def counted(*args: object, **more: object) -> AsyncIterator[object]:
                nonlocal under_way, most
                under_way += 1
                most = max(most, under_way)
                try:
                    async with opened(*args, **more) as stream:  # type: ignore[arg-type]
                        yield stream
                finally:
                    under_way -= 1

            site.fetcher._client.blob = counted  # type: ignore[assignment,method-assign]
            await asyncio.gather(*(site.fetch(image) for image in images))
            assert (most, under_way) == (2, 0)


async def test_more_bytes_than_promised_are_refused(tmp_path: Path) -> None:
    """A blob of another size than its descriptor says is the parent's lie."""
    image = make_image("app", size=50_000)
    with ScriptedRegistry() as parent:
        parent.on(layer_path(image), Reply(200, {}, image.layers[0].data + b"more"))
        async with bench(tmp_path / "site", parent.address) as site:
            with pytest.raises((ParentLied, ParentFailed)):
                await site.fetch(image)


async def test_an_empty_blob_needs_no_request(tmp_path: Path) -> None:
    """There is only one content of no bytes."""
    with ScriptedRegistry() as parent:
        async with bench(tmp_path / "site", parent.address) as site:
            digest = Digest.of(b"")
            await site.fetcher.fetch(APP, digest, 0)
            assert site.blobs.read(digest) == b""
            assert parent.requests == []


async def test_a_full_disk_is_no_fault_of_the_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`DiskFull` passes through, and the next try goes on when there is room again."""
    image = make_image("app", size=3_000_000)
    with ScriptedRegistry() as parent:
        parent.hold(image, "team/app", "1.0")
        async with bench(tmp_path / "site", parent.address) as site:
            from connected_registry.storage import blobs as module

            def full(*_args: object) -> None:
                raise OSError(28, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(module.disk, "write_all", full)
                with pytest.raises(DiskFull):
                    await site.fetch(image)
            assert site.blobs.read(await site.fetch(image)) == image.layers[0].data
