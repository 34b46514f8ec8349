from __future__ import annotations

import logging

import httpx
import pytest

from connected_registry.errors import DiskFull, StorageError
from endpoint.serving import Site
from storage.store import REPOSITORY, image

EVERYTHING = ["/v2/", f"/v2/{REPOSITORY}/manifests/1.0", f"/v2/{REPOSITORY}/tags/list", "/healthz"]


@pytest.mark.parametrize(
    "address",
    [
        "/nothing",
        "/v2/x",
        "/v2/A/manifests/1",
        f"/v2/{REPOSITORY}/manifests/gone",
        f"/v2/{REPOSITORY}/manifests/sha256:x",
        f"/v2/{REPOSITORY}/blobs/sha256:{'0' * 64}",
        "/v2/_catalog?n=x",
        "/acr/v1/gone/_tags",
    ],
)
def test_every_refusal_has_the_envelope_and_head_none(client: httpx.Client, address: str) -> None:
    """The headers of HEAD are those that GET would have."""
    answer, head = client.get(address), client.head(address)
    [error] = answer.json()["errors"]

    assert answer.status_code == head.status_code
    assert 400 <= answer.status_code < 500
    assert error["code"].isupper()
    assert error["message"]
    assert answer.headers["Content-Type"] == head.headers["Content-Type"] == "application/json"
    assert head.content == b""
    assert head.headers["Content-Length"] == str(len(answer.content))
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_method_that_does_not_exist_is_told_which_do(client: httpx.Client) -> None:
    """405 in the envelope."""
    answer = client.request("OPTIONS", f"/v2/{REPOSITORY}/manifests/1.0")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET, HEAD, PUT")
    assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_unknown_parameters_are_ignored_everywhere(site: Site, client: httpx.Client) -> None:
    """Mirrors and their clients add them."""
    site.store.push(image(b"layer"), "1.0")
    for address in EVERYTHING:
        assert client.get(f"{address}?ns=docker.io&origin=x&_state=%20").status_code == 200


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (DiskFull("/dev/sda1 is full"), 507, "DENIED"),
        (StorageError("/data/blobs said no"), 503, "UNAVAILABLE"),
        (RuntimeError("a secret detail"), 500, "UNKNOWN"),
    ],
)
def test_failures_behind_become_answers_without_details(
    site: Site,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    status: int,
    code: str,
) -> None:
    """And the connection goes on."""

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(site.store.registry, "list_tags", fail)
    answer = client.get(f"/v2/{REPOSITORY}/tags/list")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert str(failure) not in answer.text
    assert client.get("/v2/").status_code == 200


def test_requests_are_logged_where_debugging_is_on(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, without the query and without credentials."""
    secret = {"Authorization": "Basic c2VjcmV0OnNlY3JldA=="}
    with caplog.at_level(logging.DEBUG, "connected_registry.endpoint.dispatch"):
        client.get("/v2/_catalog?password=hidden", headers=secret)
    text = caplog.text + "".join(capsys.readouterr())

    assert "http.request" in text
    assert "/v2/_catalog" in text
    assert "hidden" not in text
    assert "c2VjcmV0" not in text


def test_connections_are_reused(site: Site) -> None:
    """Also after refusals with a short body, which is read to its end for that."""
    with site.client(limits=httpx.Limits(max_connections=1)) as client:
        for _ in range(3):
            assert client.get("/v2/").status_code == 200
            refused = client.put("/v2/A/manifests/1", content=b"x" * 1000)
            assert (refused.status_code, "Connection" in refused.headers) == (400, False)
        refused = client.put("/v2/A/manifests/1", content=bytes(1_000_000))
        assert (refused.status_code, refused.headers["Connection"]) == (400, "close")
        assert client.get("/v2/").status_code == 200
