"""How clients are told the age of what they pull."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from connected_registry.endpoint.freshness import CONFIRMED, TagFreshness, freshness_headers
from connected_registry.oci.reference import RepositoryName, Tag
from endpoint.serving import Site, serve
from storage.store import REPOSITORY, image

MOMENT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
KNOWN = {
    "1.0": TagFreshness(True, MOMENT),
    "old": TagFreshness(False, MOMENT - timedelta(days=3)),
    "new": TagFreshness(False, None),
}


class Parent:
    """Knows `KNOWN`."""

    def recall(self, repository: RepositoryName, tag: Tag) -> tuple[TagFreshness | None] | None:
        """One tag, from memory."""
        return (KNOWN.get(tag) if repository == REPOSITORY else None,)

    async def of(self, repository: RepositoryName, tag: Tag) -> TagFreshness | None:
        """One tag."""
        return KNOWN.get(tag) if repository == REPOSITORY else None

    def listing(self, repository: RepositoryName) -> Mapping[str, TagFreshness]:
        """All tags."""
        return KNOWN if repository == REPOSITORY else {}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Site]:
    """A site whose parent confirmed some tags."""
    with serve(tmp_path / "data", freshness=Parent()) as site:
        site.store.push(image(b"layer"), "1.0", "old", "new", "local")
        yield site


def test_a_pull_by_tag_says_when_the_parent_confirmed_it(told: Site) -> None:
    """GET, HEAD and 304 alike; what has no such moment, and digests, say nothing."""
    path = f"/v2/{REPOSITORY}/manifests"
    with told.client() as client:
        first = client.get(f"{path}/1.0")
        known = {"If-None-Match": first.headers["ETag"]}
        for answer in (first, client.head(f"{path}/1.0"), client.get(f"{path}/1.0", headers=known)):
            assert 7200 <= int(answer.headers["Age"]) < 7800
            assert answer.headers[CONFIRMED] == f"{MOMENT:%Y-%m-%dT%H:%M:%SZ}"
        digest = first.headers["Docker-Content-Digest"]
        for reference in ("new", "local", digest):
            answer = client.get(f"{path}/{reference}")
            assert answer.status_code == 200
            assert "Age" not in answer.headers
            assert CONFIRMED not in answer.headers
        assert int(client.get(f"{path}/old").headers["Age"]) > 86400 * 3
        assert parsedate_to_datetime(first.headers["Date"]) >= MOMENT


def test_the_listing_says_which_tags_are_in_sync(told: Site) -> None:
    """Those of the parent; a tag that was only pushed here has nothing to be in sync with."""
    with told.client() as client:
        tags = client.get(f"/acr/v1/{REPOSITORY}/_tags").json()["tags"]
        one = client.get(f"/acr/v1/{REPOSITORY}/_tags/old").json()["tag"]
    shown = {tag["name"]: (tag.get("inSync"), tag.get("confirmedTime")) for tag in tags}

    assert shown == {
        "1.0": (True, f"{MOMENT:%Y-%m-%dT%H:%M:%S}.000000Z"),
        "old": (False, f"{MOMENT - timedelta(days=3):%Y-%m-%dT%H:%M:%S}.000000Z"),
        "new": (False, None),
        "local": (None, None),
    }
    assert one["inSync"] is False


async def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    """RFC 9111 knows none."""
    headers = await freshness_headers(
        Parent(), REPOSITORY, Tag("1.0"), lambda: MOMENT - timedelta(hours=1)
    )
    assert headers["Age"] == "0"
