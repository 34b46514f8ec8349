"""Hostile manifests, names and races, over the wire: each has its answer and the server lives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connected_registry.oci import media_type
from connected_registry.oci.digest import Digest
from endpoint.people import rules, token
from endpoint.serving import Site, serve
from storage.store import CONFIG, LAYER, REPOSITORY, descriptor, image, index

PATH = f"/v2/{REPOSITORY}/manifests"
GOOD = image(b"layer")


def document(**changes: Any) -> bytes:
    """A good manifest with fields changed; ``None`` takes a field out."""
    changed = {**json.loads(GOOD.content), **changes}
    return json.dumps({key: value for key, value in changed.items() if value is not None}).encode()


def put(
    client: httpx.Client, content: bytes, kind: str = media_type.OCI_MANIFEST
) -> httpx.Response:
    """Push under a tag."""
    return client.put(f"{PATH}/bad", content=content, headers={"Content-Type": kind})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one registry for all tables; it holds the blobs of `GOOD`."""
    with serve(tmp_path_factory.mktemp("shared") / "data") as site, site.client() as client:
        site.store.push(GOOD, "good")
        yield client


BAD_MANIFESTS = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"x"',
    "an empty object": b"{}",
    "not JSON": b"{",
    "not UTF-8": b'{"schemaVersion":2,"x":"\xff"}',
    "a mark of byte order": b"\xef\xbb\xbf" + GOOD.content,
    "UTF-16": GOOD.content.decode().encode("utf-16"),
    "duplicate mediaType": GOOD.content[:-1] + b',"mediaType":"application/x"}',
    "duplicate layers": GOOD.content[:-1] + b',"layers":[]}',
    "both index and image": document(manifests=[]),
    "another mediaType": document(mediaType=media_type.OCI_INDEX),
    "version one": document(schemaVersion=1),
    "a text for a version": document(schemaVersion="2"),
    "no config": document(config=None),
    "no layers": document(layers=None),
    "layers that are none": document(layers={"a": 1}),
    "a layer that is none": document(layers=["x"]),
    "a negative size": document(layers=[{**descriptor(b"layer"), "size": -1}]),
    "a size with a fraction": document(layers=[{**descriptor(b"layer"), "size": 5.0}]),
    "a size as text": document(layers=[{**descriptor(b"layer"), "size": "5"}]),
    "a size beyond counting": document(layers=[{**descriptor(b"layer"), "size": 2**63}]),
    "a size of many digits": GOOD.content.replace(b'"size": 2', b'"size": ' + b"9" * 5000),
    "not a number": GOOD.content[:-1] + b',"x":NaN}',
    "a wrong size": document(layers=[{**descriptor(b"layer"), "size": 6}]),
    "a path for a digest": document(layers=[descriptor(b"layer", digest="sha256:../../etc")]),
    "a digest of md5": document(layers=[descriptor(b"layer", digest="md5:" + "0" * 32)]),
    "an upper-case digest": document(
        layers=[descriptor(b"layer", digest="sha256:" + Digest.of(b"layer").encoded.upper())]
    ),
    "a subject of garbage": document(subject={**descriptor(b"x", CONFIG), "digest": "sha256:x"}),
    "annotations of numbers": document(annotations={"a": 1}),
    "deep lists": b'{"schemaVersion":2,"x":' + b"[" * 100_000,
    "closed deep lists": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000,
    "twenty thousand layers": document(layers=[descriptor(b"layer")] * 20_000),
}


@pytest.mark.parametrize("content", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_a_bad_manifest_is_refused(shared: httpx.Client, content: bytes) -> None:
    """400 or 413 with a sentence, and nothing is shown."""
    answer = put(shared, content)
    [error] = answer.json()["errors"]

    assert answer.status_code in (400, 413)
    assert error["code"] in ("MANIFEST_INVALID", "SIZE_INVALID")
    assert 0 < len(error["message"]) < 400
    assert shared.get(f"{PATH}/bad").status_code == 404


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/" + "x" * 5000,
        "no slash",
        "a/b/c",
        ";charset=utf-8",
        "application/x\u00e9",
    ],
)
def test_a_bad_content_type_is_refused(shared: httpx.Client, kind: str) -> None:
    """Nothing is ever served as what a browser would run."""
    answer = shared.put(
        f"{PATH}/bad",
        content=document(mediaType=None),
        headers=[("Content-Type", kind.encode("latin-1"))],
    )

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "MANIFEST_INVALID")


def test_a_manifest_needs_a_content_type(shared: httpx.Client) -> None:
    """It is part of what is stored."""
    assert shared.put(f"{PATH}/bad", content=GOOD.content).status_code == 400


@pytest.mark.parametrize(
    "content",
    [
        document(
            layers=[
                descriptor(
                    b"layer",
                    urls=["http://169.254.169.254/x", "file:///etc/passwd", "gopher://x"],
                )
            ]
        ),
        document(artifactType="application/x", unknown={"field": [1, 2.5, None]}),
        document(layers=[]),
        document(config=descriptor(b"{}", "image/gif")),
        document(annotations={f"k{n}": "v" * 100 for n in range(5000)}),
    ],
    ids=["urls", "unknown fields", "no layers", "odd config", "annotations"],
)
def test_what_is_only_unusual_is_stored(shared: httpx.Client, content: bytes) -> None:
    """And served byte for byte; addresses in it are text to us."""
    answer = shared.put(
        f"{PATH}/odd", content=content, headers={"Content-Type": media_type.OCI_MANIFEST}
    )

    assert answer.status_code == 201
    assert shared.get(answer.headers["Location"]).content == content


def test_an_unknown_kind_of_manifest_is_stored(shared: httpx.Client) -> None:
    """New types come without asking us."""
    content = b'{"new": "thing"}'
    answer = shared.put(
        f"{PATH}/new", content=content, headers={"Content-Type": "application/vnd.new+json"}
    )

    assert answer.status_code == 201
    assert shared.get(f"{PATH}/new").headers["Content-Type"] == "application/vnd.new+json"


@given(st.binary(max_size=300))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_no_manifest(shared: httpx.Client, content: bytes) -> None:
    """Refused, never a failure of ours."""
    assert put(shared, content).status_code == 400


@given(st.text(max_size=40), st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_addresses_are_no_failure(shared: httpx.Client, text: str, method: str) -> None:
    """4xx for all of them, in the envelope."""
    encoded = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace"))
    for address in (
        f"/v2/{encoded}",
        f"/v2/a/manifests/{encoded}",
        f"/v2/a/blobs/uploads/{encoded}",
    ):
        status = shared.request(method, address).status_code
        assert status < 500 or status == 507


def test_fifty_writers_of_one_tag_leave_one_of_theirs(site: Site) -> None:
    """Every push is acknowledged; HEAD, GET and the digest agree at every moment."""
    images = [index(annotations={"n": str(n)}) for n in range(50)]
    contents = {each.digest: each.content for each in images}

    def push(n: int) -> int:
        with site.client() as client:
            answer = client.put(
                f"{PATH}/tag",
                content=images[n].content,
                headers={"Content-Type": images[n].media_type},
            )
            seen = client.get(f"{PATH}/tag")
            assert contents[Digest(seen.headers["Docker-Content-Digest"])] == seen.content
            return answer.status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(push, range(50)))
    with site.client() as client:
        final = client.head(f"{PATH}/tag").headers["Docker-Content-Digest"]
        assert statuses == [201] * 50
        assert client.get(f"{PATH}/tag").content == contents[final]
        assert client.get(f"/v2/{REPOSITORY}/tags/list").json()["tags"] == ["tag"]


def test_a_token_for_one_name_opens_no_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Not one that it begins, not another case, not by encoding."""
    people = rules(token("root", "all"))
    with (
        serve(tmp_path_factory.mktemp("site") / "data", people) as site,
        site.client() as client,
    ):
        bearer = client.get(
            "/acr/oauth2/token",
            params={"scope": "repository:a:pull"},
            auth=("root", "root-secret"),
        ).json()["token"]
        headers = {"Authorization": f"Bearer {bearer}"}
        assert client.get("/v2/a/manifests/1", headers=headers).status_code == 404
        for name in ("a/b", "a%2Fb", "ab", "b", "a%2f%62"):
            answer = client.get(f"/v2/{name}/manifests/1", headers=headers)
            assert answer.status_code == 401
        assert client.get("/v2/A/manifests/1", headers=headers).status_code == 400


@pytest.mark.parametrize("tag", ["t" * 128, "_tag", "A.b-c_d"])
def test_tags_at_the_edge_of_the_grammar(shared: httpx.Client, tag: str) -> None:
    """What the grammar allows can be pushed and pulled."""
    answer = shared.put(
        f"{PATH}/{tag}", content=GOOD.content, headers={"Content-Type": GOOD.media_type}
    )

    assert answer.status_code == 201
    assert shared.get(f"{PATH}/{tag}").content == GOOD.content


def test_the_size_of_a_layer_is_checked_against_the_layer(shared: httpx.Client) -> None:
    """The error names which one."""
    wrong = document(layers=[{**descriptor(b"layer", LAYER), "size": 7}])
    [error] = put(shared, wrong).json()["errors"]

    assert error["detail"]["digest"] == Digest.of(b"layer")
