from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connected_registry.endpoint import listings
from connected_registry.endpoint.query import MAX_PAGE
from connected_registry.oci.digest import Digest
from connected_registry.oci.links import parse_next
from connected_registry.oci.media_type import OCI_INDEX
from connected_registry.oci.reference import RepositoryName
from endpoint.serving import Site
from storage.store import REPOSITORY, Image, image, index

TAGS = f"/v2/{REPOSITORY}/tags/list"
NAMES = ["1.0", "1.0.1", "10", "A", "_x", "a", "a-b", "a.b", "b", "latest"]


def pages(client: httpx.Client, address: str) -> Iterator[httpx.Response]:
    """Every page from ``address`` on, as a client follows them."""
    following: str | None = address
    while following is not None:
        answer = client.get(following)
        assert answer.status_code == 200, answer.text
        yield answer
        following = parse_next(answer.headers.get_list("Link"))


def test_tags_come_in_byte_order(site: Site, client: httpx.Client) -> None:
    """All at once where that is not too many."""
    site.store.push(image(b"layer"), *reversed(NAMES))
    answer = client.get(TAGS)

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"name": REPOSITORY, "tags": sorted(NAMES)}
    assert "Link" not in answer.headers


@pytest.mark.parametrize("size", [1, 2, 3, 9, 10, 11])
def test_pages_lead_through_all_tags(site: Site, client: httpx.Client, size: int) -> None:
    """Each once, in order, with a link on every page but the last; other parameters stay."""
    site.store.push(image(b"layer"), *NAMES)
    answers = list(pages(client, f"{TAGS}?n={size}&ns=docker.io"))

    assert [tag for answer in answers for tag in answer.json()["tags"]] == sorted(NAMES)
    assert len(answers) == -(-len(NAMES) // size)
    for answer in answers[:-1]:
        assert "ns=docker.io" in answer.headers["Link"]


@given(last=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,5}", fullmatch=True))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_listing_goes_on_after_any_tag(site: Site, client: httpx.Client, last: str) -> None:
    """Also after one that was never there."""
    site.store.push(image(b"layer"), *NAMES)
    tags = client.get(TAGS, params={"last": last}).json()["tags"]

    assert tags == sorted(name for name in NAMES if name > last)


def test_none_may_be_asked_for(site: Site, client: httpx.Client) -> None:
    """An empty page without a link."""
    site.store.push(image(b"layer"), *NAMES)
    answer = client.get(f"{TAGS}?n=0")

    assert (answer.json()["tags"], "Link" in answer.headers) == ([], False)


@pytest.mark.parametrize("n", ["-1", "abc", "", "1.5", "+1", "%EF%BC%91", "1&n=2", "0x5", "1%20"])
def test_a_page_size_that_is_no_number_is_refused(site: Site, client: httpx.Client, n: str) -> None:
    """In every listing, with the code for it."""
    digest = site.store.push(image(b"layer"), "1.0")
    for address in (
        TAGS,
        "/v2/_catalog",
        f"/v2/{REPOSITORY}/referrers/{digest}",
        "/acr/v1/_catalog",
        f"/acr/v1/{REPOSITORY}/_tags",
        f"/acr/v1/{REPOSITORY}/_manifests",
    ):
        answer = client.get(f"{address}?n={n}")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "PAGINATION_NUMBER_INVALID"


@pytest.mark.parametrize("n", [MAX_PAGE + 1, 10**18, 10**90])
def test_a_page_size_beyond_reason_is_cut(site: Site, client: httpx.Client, n: int) -> None:
    """Nothing is allocated by a client's number."""
    site.store.push(image(b"layer"), *NAMES)

    assert client.get(f"{TAGS}?n={n}").json()["tags"] == sorted(NAMES)


def test_a_malformed_last_is_refused(client: httpx.Client) -> None:
    """It can be no tag, no name, no digest."""
    for address in (
        f"{TAGS}?last=%00",
        f"{TAGS}?last=-x",
        "/v2/_catalog?last=A",
        f"{TAGS}?last=a&last=b",
    ):
        assert client.get(address).status_code == 400
    assert client.get("/v2/_catalog?last=").status_code == 200


def test_an_unknown_repository_is_told_as_such(client: httpx.Client) -> None:
    """Clients decide by the code."""
    answer = client.get("/v2/never/seen/tags/list")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


def test_the_catalogue_in_pages(site: Site, client: httpx.Client) -> None:
    """Every repository once, also those whose names begin alike."""
    names = ["a", "a-b", "a/b", "a/b/c", "ab", "b"]
    for name in names:
        site.store.push(image(b"layer"), "1", repository=RepositoryName(name))
    for address in ("/v2/_catalog", "/acr/v1/_catalog"):
        answers = list(pages(client, f"{address}?n=2"))
        assert [name for answer in answers for name in answer.json()["repositories"]] == names


def signature(subject: Image, kind: str | None, number: int) -> Image:
    """Something that refers to ``subject``."""
    extra = {} if kind is None else {"artifactType": kind}
    return index(subject=subject.descriptor(), annotations={"n": str(number)}, **extra)


def test_referrers_are_listed_with_what_they_are(site: Site, client: httpx.Client) -> None:
    """As an index whose type is exactly that, empty where there are none."""
    subject = image(b"layer")
    site.store.push(subject, "1.0")
    address = f"/v2/{REPOSITORY}/referrers/{subject.digest}"
    assert client.get(address).json()["manifests"] == []
    bundle = image(b"signature", subject=subject.descriptor(), annotations={"k": "v"})
    site.store.push(bundle)
    answer = client.get(address)

    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.json() == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": bundle.media_type,
                "digest": bundle.digest,
                "size": len(bundle.content),
                "artifactType": "application/vnd.oci.image.config.v1+json",
                "annotations": {"k": "v"},
            }
        ],
    }
    assert "OCI-Filters-Applied" not in answer.headers


@pytest.mark.parametrize("repository", [REPOSITORY, "never/seen"])
def test_referrers_of_what_is_not_here_are_none(client: httpx.Client, repository: str) -> None:
    """200 and empty: any 404 would say that this registry has no such listing."""
    answer = client.get(f"/v2/{repository}/referrers/{Digest.of(b'x')}")

    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("artifactType=application/a%2Bjson", [0]),
        ("artifactType=application/a+json", [0]),
        ("artifactType=application/b", [1]),
        ("artifactType=application/c", []),
        ("artifactType=", [2]),
        ("", [0, 1, 2]),
    ],
)
def test_referrers_are_filtered_by_type(
    site: Site, client: httpx.Client, query: str, expected: list[int]
) -> None:
    """The answer says so; an empty filter means those without a type."""
    subject = image(b"layer")
    kinds = ["application/a+json", "application/b", None]
    found = [signature(subject, kind, n) for n, kind in enumerate(kinds)]
    for each in found:
        site.store.push(each)
    answer = client.get(f"/v2/{REPOSITORY}/referrers/{subject.digest}?{query}")

    assert {each["digest"] for each in answer.json()["manifests"]} == {
        found[n].digest for n in expected
    }
    assert answer.headers.get("OCI-Filters-Applied") == ("artifactType" if query else None)


def test_many_referrers_come_in_pages(
    site: Site, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number where it is asked for, and by size where clients could not read it all."""
    subject = image(b"layer")
    found = [signature(subject, "application/x", n) for n in range(7)]
    for each in found:
        site.store.push(each)
    address = f"/v2/{REPOSITORY}/referrers/{subject.digest}?artifactType=application/x"
    by_number = list(pages(client, f"{address}&n=3"))
    monkeypatch.setattr(listings, "PAGE_BYTES", 500)
    by_size = list(pages(client, address))

    for answers in (by_number, by_size):
        assert len(answers) > 2
        digests = [each["digest"] for answer in answers for each in answer.json()["manifests"]]
        assert sorted(digests) == sorted(each.digest for each in found)
        assert all(answer.headers["OCI-Filters-Applied"] for answer in answers)


def test_a_deleted_referrer_is_no_longer_listed(site: Site, client: httpx.Client) -> None:
    """At once."""
    subject = image(b"layer")
    site.store.push(signature(subject, "application/x", 1))
    digest = signature(subject, "application/x", 1).digest
    client.delete(f"/v2/{REPOSITORY}/manifests/{digest}")

    address = f"/v2/{REPOSITORY}/referrers/{subject.digest}"
    assert client.get(address).json()["manifests"] == []


@pytest.mark.parametrize("address", ["/v2/", "/v2"])
def test_the_version_address(client: httpx.Client, address: str) -> None:
    """What every client asks first."""
    for method in ("GET", "HEAD"):
        answer = client.request(method, address)
        assert answer.status_code == 200
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert answer.headers["Content-Length"] == "2"
    assert client.get(address).json() == {}
