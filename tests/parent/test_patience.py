"""Leaving alone what keeps coming wrong."""

from __future__ import annotations

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.patience import FIRST, LONGEST, Patience
from connected_registry.parent.plan import Action, PlannedImage
from connected_registry.parent.result import ImageFailure


class Uptime:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The seconds."""
        return self.now


def image(content: bytes = b"image") -> PlannedImage:
    """A planned image of this content."""
    return PlannedImage(
        RepositoryName("team/app"), Tag("1.0"), Digest.of(content), Action.NEW, "", (), ()
    )


LIE = ImageFailure("team/app:1.0", "lying", "other bytes")


def test_pauses_double_to_a_limit() -> None:
    """Each lie in a row makes the next pause longer; when it is over, we try again."""
    uptime = Uptime()
    patience = Patience(uptime)
    pause = FIRST
    for _ in range(12):
        patience.learn([image()], [LIE])
        uptime.now += pause - 1
        assert patience.withhold(image()) is not None
        uptime.now += 1
        assert patience.withhold(image()) is None
        pause = min(pause * 2, LONGEST)


def test_other_content_is_tried_at_once() -> None:
    """A tag that the parent moved is another image."""
    patience = Patience(Uptime())
    patience.learn([image()], [LIE])
    assert patience.withhold(image(b"moved")) is None


def test_success_and_cheap_failures_forget() -> None:
    """Only failures that cost all the bytes are held against an image."""
    patience = Patience(Uptime())
    patience.learn([image()], [LIE])
    patience.learn([image()], [])
    assert patience.withhold(image()) is None
    patience.learn([image()], [ImageFailure("team/app:1.0", "offline", "cut")])
    assert patience.withhold(image()) is None
