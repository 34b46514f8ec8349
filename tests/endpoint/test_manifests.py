from __future__ import annotations

import hashlib

import httpx
import pytest

from connected_registry.endpoint.manifests import MAX_TAGS
from connected_registry.oci import media_type
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import MAX_MANIFEST
from endpoint.serving import Site
from storage.store import REPOSITORY, image, index

PATH = f"/v2/{REPOSITORY}/manifests"


def test_a_manifest_is_served_byte_for_byte_with_its_type_and_digest(
    site: Site, client: httpx.Client
) -> None:
    """By tag and by digest, GET and HEAD alike, whatever Accept says."""
    pushed = image(b"layer", annotations={"spaces": "  kept  "})
    site.store.push(pushed, "1.0")
    for reference in ("1.0", pushed.digest):
        for method in ("GET", "HEAD"):
            answer = client.request(
                method, f"{PATH}/{reference}?ns=docker.io", headers={"Accept": "text/html"}
            )
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == media_type.OCI_MANIFEST
            assert answer.headers["Docker-Content-Digest"] == pushed.digest
            assert answer.headers["Content-Length"] == str(len(pushed.content))
            assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
            assert "Transfer-Encoding" not in answer.headers
            assert answer.content == (pushed.content if method == "GET" else b"")


def test_nothing_is_ever_compressed(site: Site, client: httpx.Client) -> None:
    """Clients ask for it on every request and count bytes afterwards."""
    pushed = image(b"layer", annotations={"long": "x" * 100_000})
    site.store.push(pushed, "1.0")
    answer = client.get(f"{PATH}/1.0", headers={"Accept-Encoding": "zstd, gzip, deflate, br"})

    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Content-Length"] == str(len(pushed.content))


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', "{}", '"other", "{}"', "*"])
def test_a_client_that_has_it_is_told_so(site: Site, client: httpx.Client, form: str) -> None:
    """304 without a body, in any usual form of the header."""
    digest = site.store.push(image(b"layer"), "1.0")
    answer = client.get(f"{PATH}/1.0", headers={"If-None-Match": form.format(digest)})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == f'"{digest}"'
    assert client.get(f"{PATH}/1.0", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_pushed_manifest_can_be_pulled_at_once(site: Site, client: httpx.Client) -> None:
    """The answer says where and under which digest; parameters of the type are dropped."""
    pushed = image(b"layer")
    for blob in pushed.blobs:
        site.store.push_blob(blob)
    answer = client.put(
        f"{PATH}/1.0",
        content=pushed.content,
        headers={"Content-Type": f"{pushed.media_type}; charset=utf-8"},
    )

    assert answer.status_code == 201
    assert answer.headers["Docker-Content-Digest"] == pushed.digest
    assert answer.headers["Content-Length"] == "0"
    pulled = client.get(answer.headers["Location"])
    assert (pulled.content, pulled.headers["Content-Type"]) == (pushed.content, pushed.media_type)


def test_a_moved_tag_is_seen_by_the_next_request(site: Site, client: httpx.Client) -> None:
    """No cache is older than the last answer to a push."""
    first, second = image(b"first"), image(b"second")
    site.store.push(first, "latest")
    assert client.get(f"{PATH}/latest").content == first.content
    site.store.push(second)
    client.put(
        f"{PATH}/latest", content=second.content, headers={"Content-Type": second.media_type}
    )

    assert client.get(f"{PATH}/latest").content == second.content
    assert client.get(f"{PATH}/{first.digest}").content == first.content


def test_a_push_by_digest_takes_tags(site: Site, client: httpx.Client) -> None:
    """Every ``tag`` parameter is set and listed in the answer, also with sha512."""
    pushed = image(b"layer")
    site.store.push(pushed)
    for number, algorithm in enumerate(("sha256", "sha512")):
        digest = f"{algorithm}:{hashlib.new(algorithm, pushed.content).hexdigest()}"
        tags = [f"a{number}", f"b{number}"]
        answer = client.put(
            f"{PATH}/{digest}",
            params={"tag": tags},
            content=pushed.content,
            headers={"Content-Type": pushed.media_type},
        )
        assert answer.status_code == 201
        assert answer.headers["OCI-Tag"] == ", ".join(tags)
        assert answer.headers["Docker-Content-Digest"] == digest
        for reference in (*tags, digest):
            pulled = client.get(f"{PATH}/{reference}")
            assert pulled.headers["Docker-Content-Digest"] == digest
            assert pulled.content == pushed.content


def test_a_push_with_a_bad_or_one_tag_too_many_changes_nothing(
    site: Site, client: httpx.Client
) -> None:
    """All tags or none."""
    pushed = image(b"layer")
    site.store.push(pushed)
    for tags, status in (
        (["good", ".bad"], 400),
        ([f"t{n}" for n in range(MAX_TAGS + 1)], 414),
    ):
        answer = client.put(
            f"{PATH}/{pushed.digest}",
            params={"tag": tags},
            content=pushed.content,
            headers={"Content-Type": pushed.media_type},
        )
        assert answer.status_code == status
    assert client.get(f"/v2/{REPOSITORY}/tags/list").json()["tags"] == []


def test_a_subject_is_acknowledged(site: Site, client: httpx.Client) -> None:
    """Also one that is not here yet, so that signatures may come first."""
    subject = image(b"not pushed")
    pushed = image(b"signature", subject=subject.descriptor())
    for blob in pushed.blobs:
        site.store.push_blob(blob)
    answer = client.put(
        f"{PATH}/{pushed.digest}",
        content=pushed.content,
        headers={"Content-Type": pushed.media_type},
    )

    assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, subject.digest)


def test_an_index_may_name_what_is_not_here(site: Site, client: httpx.Client) -> None:
    """A sparse index keeps its digest."""
    present = image(b"here")
    site.store.push(present)
    pushed = index(present.descriptor(), image(b"elsewhere").descriptor())
    answer = client.put(
        f"{PATH}/multi", content=pushed.content, headers={"Content-Type": pushed.media_type}
    )

    assert answer.status_code == 201
    assert client.get(f"{PATH}/multi").content == pushed.content


def test_deleting_a_tag_leaves_the_manifest_and_deleting_that_takes_every_tag(
    site: Site, client: httpx.Client
) -> None:
    """What is gone is gone at once; deleting it again is 404."""
    digest = site.store.push(image(b"layer"), "a", "b", "c")

    assert client.delete(f"{PATH}/a").status_code == 202
    assert client.get(f"{PATH}/a").status_code == 404
    assert client.get(f"{PATH}/b").status_code == 200
    assert client.delete(f"{PATH}/{digest}").status_code == 202
    for reference in ("b", "c", digest):
        assert client.get(f"{PATH}/{reference}").status_code == 404
        assert client.delete(f"{PATH}/{reference}").status_code == 404


def put(
    client: httpx.Client, content: bytes, kind: str = media_type.OCI_MANIFEST
) -> httpx.Response:
    """Push ``content`` under a tag."""
    return client.put(f"{PATH}/bad", content=content, headers={"Content-Type": kind})


def test_a_manifest_at_the_limit_is_taken_and_one_byte_more_is_not(
    site: Site, client: httpx.Client
) -> None:
    """413 also where the length is not announced."""
    small = image(annotations={"a": ""})
    site.store.push(small)
    full = image(annotations={"a": "x" * (MAX_MANIFEST - len(small.content))})
    assert len(full.content) == MAX_MANIFEST

    assert put(client, full.content).status_code == 201
    answer = put(client, full.content + b" ")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "SIZE_INVALID")
    chunked = client.put(
        f"{PATH}/bad",
        content=iter([full.content, b" "]),
        headers={"Content-Type": media_type.OCI_MANIFEST},
    )
    assert chunked.status_code == 413


def test_a_wrong_digest_in_the_address_is_refused(client: httpx.Client) -> None:
    """A digest is an assertion to check, not a name to trust."""
    wrong = Digest.of(b"something else")
    answer = client.put(
        f"{PATH}/{wrong}",
        content=image().content,
        headers={"Content-Type": media_type.OCI_MANIFEST},
    )

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")


def test_a_missing_blob_is_named(client: httpx.Client) -> None:
    """The client learns what to push."""
    pushed = image(b"never pushed")
    answer = put(client, pushed.content)
    error = answer.json()["errors"][0]

    assert (answer.status_code, error["code"]) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert Digest.of(b"never pushed") in {each["digest"] for each in error["detail"]}


def test_pulls_are_counted_and_looks_are_not(site: Site, client: httpx.Client) -> None:
    """One event for each body sent, with repository, reference, bytes and caller."""
    pushed = image(b"layer")
    site.store.push(pushed, "1.0")
    client.head(f"{PATH}/1.0")
    client.get(f"{PATH}/1.0", headers={"If-None-Match": f'"{pushed.digest}"'})
    client.get(f"{PATH}/1.0")
    [pull] = site.pulls

    assert (pull.kind, pull.repository, pull.reference) == ("manifest", REPOSITORY, "1.0")
    assert (pull.bytes, pull.principal.is_anonymous) == (len(pushed.content), True)
