"""The arithmetic of plans."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.plan import (
    Action,
    Plan,
    PlanFailure,
    PlannedBlob,
    PlannedImage,
    RepositoryPlan,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SIZES = {Digest.of(bytes([n])): n * 100 for n in range(12)}


def planned(tag: str, blobs: list[Digest], *, priority: int = 0, size: int = 0) -> PlannedImage:
    """An image of these blobs."""
    return PlannedImage(
        RepositoryName("team/app"),
        Tag(tag),
        Digest.of(tag.encode()),
        Action.NEW,
        "rule",
        (),
        tuple(PlannedBlob(blob, SIZES[blob]) for blob in blobs),
        priority=priority,
        bytes_to_fetch=size,
    )


def plan_of(*images: PlannedImage, **more: object) -> Plan:
    """A plan of one repository."""
    part = RepositoryPlan(RepositoryName("team/app"), images=images, listed_at=NOW)
    return Plan(NOW, (part,), **more)  # type: ignore[arg-type]


blob_sets = st.lists(st.lists(st.sampled_from(list(SIZES)), unique=True), max_size=6)


@given(
    images=blob_sets,
    held=st.frozensets(st.sampled_from(list(SIZES))),
    partials=st.dictionaries(st.sampled_from(list(SIZES)), st.integers(0, 2000)),
)
def test_every_byte_is_counted_once(
    images: list[list[Digest]], held: frozenset[Digest], partials: dict[Digest, int]
) -> None:
    """What is to be fetched and what is held add up to what the images need, each blob once."""
    plan = plan_of(
        *(planned(f"t{n}", blobs) for n, blobs in enumerate(images)), held=held, partials=partials
    )
    needed = {blob for blobs in images for blob in blobs}
    assert plan.to_fetch.keys() == needed - held
    assert plan.bytes_held + plan.bytes_to_fetch == sum(SIZES[blob] for blob in needed)
    assert all(0 <= left <= SIZES[blob] for blob, left in plan.to_fetch.items())


def test_the_order_of_work() -> None:
    """Priority first, then the smaller, then the name."""
    images = [
        planned("b", [], size=10),
        planned("a", [], size=10),
        planned("large", [], size=500, priority=1),
        planned("small", [], size=1),
    ]
    assert [image.tag for image in plan_of(*images).images] == ["large", "small", "a", "b"]


def test_withheld_images_become_failures() -> None:
    """They count as missing and are not worked on."""
    name = RepositoryName("team/app")
    failure = PlanFailure("team/app:a", "lying", "other bytes", name, Tag("a"))
    plan = plan_of(planned("a", []), planned("b", [])).without({"team/app:a": failure})
    assert [image.tag for image in plan.images] == ["b"]
    assert plan.all_failures == (failure,)
    assert not plan.complete


def test_a_plan_can_be_printed() -> None:
    """Its JSON form has what the command line shows, with an estimate where a rate is known."""
    blobs = list(SIZES)[10:]
    document = json.loads(json.dumps(plan_of(planned("a", blobs, size=2100)).to_json(1050.0)))
    assert document["imagesToFetch"] == 1
    assert (document["blobs"], document["bytes"], document["bytesHeld"]) == (2, 2100, 0)
    assert document["estimatedSeconds"] == 2
    assert document["images"][0]["action"] == "new"
    assert "estimatedSeconds" not in plan_of().to_json()
