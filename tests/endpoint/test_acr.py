from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from connected_registry.policy.mode import Mode
from endpoint.serving import Site
from storage.store import REPOSITORY, Image, image

BASE = f"/acr/v1/{REPOSITORY}"
FIRST, SECOND = image(b"first"), image(b"second")


@pytest.fixture
def images(site: Site) -> tuple[Image, Image]:
    """Two images: ``b`` and ``c`` name the older one, ``a`` the newer."""
    site.store.push(FIRST, "c", "b")
    site.store.push(SECOND, "a")
    return FIRST, SECOND


def moment(text: str) -> datetime:
    """A time as Azure's tools read it."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text).astimezone(UTC)


def names(answer: httpx.Response) -> list[str]:
    """The tags of an answer, in order."""
    return [tag["name"] for tag in answer.json()["tags"]]


def test_one_page_of_tags_tells_every_digest(
    site: Site, client: httpx.Client, images: tuple[Image, Image]
) -> None:
    """With times and what the mode allows: a child replica needs no request more."""
    answer = client.get(f"{BASE}/_tags").json()
    by_name = {tag["name"]: tag for tag in answer["tags"]}

    assert (answer["registry"], answer["imageName"]) == (site.address, REPOSITORY)
    assert {name: tag["digest"] for name, tag in by_name.items()} == {
        "a": SECOND.digest,
        "b": FIRST.digest,
        "c": FIRST.digest,
    }
    assert moment(by_name["a"]["lastUpdateTime"]) > moment(by_name["b"]["lastUpdateTime"])
    assert by_name["a"]["changeableAttributes"]["writeEnabled"] is True
    site.mode = Mode.READ_ONLY
    attributes = client.get(f"{BASE}/_tags/a").json()["tag"]["changeableAttributes"]
    assert (attributes["deleteEnabled"], attributes["readEnabled"]) == (False, True)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("query", "expected", "more"),
    [
        ("", ["a", "b", "c"], False),
        ("orderby=none", ["a", "b", "c"], False),
        ("orderby=timedesc", ["a", "b", "c"], False),
        ("orderby=timeasc", ["b", "c", "a"], False),
        ("orderby=timeasc&n=2", ["b", "c"], True),
        ("orderby=timeasc&n=2&last=c", ["a"], False),
        ("n=1&last=a", ["b"], True),
        (f"digest={FIRST.digest}", ["b", "c"], False),
        (f"digest={FIRST.digest}&n=1", ["b"], True),
        (f"digest={image(b'none').digest}", [], False),
        ("n=0", [], False),
    ],
)
def test_tags_in_order_in_pages_and_by_digest(
    client: httpx.Client, query: str, expected: list[str], more: bool
) -> None:
    """As Azure's own listing takes it."""
    answer = client.get(f"{BASE}/_tags?{query}")

    assert names(answer) == expected
    assert ("Link" in answer.headers) is more


@pytest.mark.usefixtures("images")
def test_the_link_keeps_the_order(client: httpx.Client) -> None:
    """Following it gives each tag once."""
    answer = client.get(f"{BASE}/_tags?orderby=timeasc&n=1")
    found = names(answer)
    while "Link" in answer.headers:
        answer = client.get(answer.links["next"]["url"])
        found += names(answer)

    assert found == ["b", "c", "a"]


@pytest.mark.usefixtures("images")
def test_manifests_with_their_tags_and_sizes(client: httpx.Client) -> None:
    """Sizes count what an image names."""
    answer = client.get(f"{BASE}/_manifests?orderby=timeasc").json()
    first, second = answer["manifests"]

    assert (first["digest"], first["tags"]) == (FIRST.digest, ["b", "c"])
    assert (second["digest"], second["tags"]) == (SECOND.digest, ["a"])
    assert first["imageSize"] == len(FIRST.content) + sum(map(len, FIRST.blobs))
    assert first["mediaType"] == FIRST.media_type
    single = client.get(f"{BASE}/_manifests/{FIRST.digest}").json()
    assert single["manifest"] == first


@pytest.mark.usefixtures("images")
def test_manifests_come_in_pages(client: httpx.Client) -> None:
    """In the order of digests where none is asked for."""
    page = client.get(f"{BASE}/_manifests?n=1")
    rest = client.get(page.links["next"]["url"])
    digests = [each["digest"] for each in page.json()["manifests"] + rest.json()["manifests"]]

    assert digests == sorted([FIRST.digest, SECOND.digest])
    assert "Link" not in rest.headers


@pytest.mark.usefixtures("images")
def test_a_repository_with_its_counts(client: httpx.Client) -> None:
    """And when it was made and last changed."""
    answer = client.get(BASE).json()

    assert (answer["imageName"], answer["manifestCount"], answer["tagCount"]) == (REPOSITORY, 2, 3)
    assert moment(answer["createdTime"]) < moment(answer["lastUpdateTime"])


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("/acr/v1/never/seen", "NAME_UNKNOWN"),
        ("/acr/v1/never/seen/_tags", "NAME_UNKNOWN"),
        ("/acr/v1/never/seen/_manifests", "NAME_UNKNOWN"),
        (f"{BASE}/_tags/zzz", "MANIFEST_UNKNOWN"),
        (f"{BASE}/_manifests/{image(b'none').digest}", "MANIFEST_UNKNOWN"),
    ],
)
def test_what_is_not_here_is_404(client: httpx.Client, address: str, code: str) -> None:
    """In the usual envelope."""
    answer = client.get(address)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, code)


def test_an_unknown_order_is_refused(client: httpx.Client) -> None:
    """Rather than taken for another."""
    assert client.get(f"{BASE}/_tags?orderby=size").status_code == 400


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "PUT", "POST"])
def test_it_only_reads(client: httpx.Client, method: str) -> None:
    """Attributes and deletions by this way do not exist."""
    for address in (BASE, f"{BASE}/_tags/a", f"{BASE}/_manifests/{FIRST.digest}"):
        assert client.request(method, address).status_code == 405
