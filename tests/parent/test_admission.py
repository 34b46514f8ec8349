"""Images are let in as far as there is room; what does not fit is told, and waits."""

from __future__ import annotations

from pathlib import Path

from connected_registry.parent.admission import Allowance
from connected_registry.parent.result import SyncState
from connected_registry.storage.ledger import ImageState
from peers.images import Image, make_image
from peers.scripted import ScriptedRegistry
from peers.site import Site, rules


class Shelf:
    """So much room, and what comes free when something is given up."""

    def __init__(self, size: int, *, spare: int = 0, scarce: bool = False) -> None:
        self.size, self.spare, self.scarce = size, spare, scarce
        self.site: Site | None = None
        self.asked: list[str] = []

    async def allowance(self) -> Allowance:
        """What is left beside everything stored."""
        assert self.site is not None
        used = sum(
            path.stat().st_size
            for folder in ("blobs", "replica/partials")
            for path in (self.site.path / folder).rglob("*")
            if path.is_file()
        )
        return Allowance(self.size - used, self.scarce, "so much is left")

    async def make_room(self, image: str, size: int) -> bool:
        """Give up what there is to give."""
        self.asked.append(image)
        self.size, self.spare = self.size + self.spare, 0
        return self.size >= size


def big(name: str, size: int) -> Image:
    """An image with a layer of about that size."""
    return make_image(name, size=size)


async def test_a_sync_goes_on_with_what_fits(tmp_path: Path) -> None:
    """The image that does not is reported with numbers; it comes once there is room."""
    shelf = Shelf(60_000)
    with ScriptedRegistry() as parent:
        for name, size in (("a", 10_000), ("b", 100_000), ("c", 10_000)):
            parent.hold(big(name, size), "team/app", name)
        large = big("b", 100_000).all_blobs()
        async with Site(tmp_path / "site", parent.address, rules("team/app"), room=shelf) as site:
            shelf.site = site
            result = await site.sync()
            assert result.state is SyncState.FAILED
            assert result.stopped == "disk"
            assert site.tags("team/app").keys() == {"a", "c"}
            assert [failure.reason for failure in result.failures] == ["disk"]
            assert "so much is left" in result.failures[0].detail
            state = site.ledger.images()[1]
            assert isinstance(state, ImageState)
            assert (state.tag, state.state, state.reason) == ("b", "failed", "disk")
            asked = {request.path.rpartition("/")[2] for request in parent.requests}
            assert not asked & large.keys()
            shelf.size = 1_000_000
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert site.tags("team/app").keys() == {"a", "b", "c"}


async def test_room_is_made_once_for_each_image_that_needs_it(tmp_path: Path) -> None:
    """And the image is let in if that was enough."""
    shelf = Shelf(50_000, spare=100_000)
    with ScriptedRegistry() as parent:
        parent.hold(big("b", 100_000), "team/app", "b")
        async with Site(tmp_path / "site", parent.address, rules("team/app"), room=shelf) as site:
            shelf.site = site
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert shelf.asked == ["team/app:b"]


async def test_where_room_is_scarce_images_come_one_at_a_time(tmp_path: Path) -> None:
    """All that fit come all the same, and nobody is asked to give anything up."""
    shelf = Shelf(200_000, scarce=True)
    with ScriptedRegistry() as parent:
        for name in "abcdef":
            parent.hold(big(name, 20_000), "team/app", name)
        async with Site(tmp_path / "site", parent.address, rules("team/app"), room=shelf) as site:
            shelf.site = site
            assert (await site.sync()).state is SyncState.SUCCEEDED
            assert len(site.tags("team/app")) == 6
            assert shelf.asked == []
