"""Whatever a parent says: errors are ours, and secrets stay."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from connected_registry.errors import ParentError
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.client import Credentials, ParentAddress, ParentClient
from peers.clients import IMPATIENT

APP = RepositoryName("app")
SECRET = base64.b64encode(b"ada:lace").decode()

places = st.sampled_from(
    ["parent.example", "PARENT.EXAMPLE:443", "parent.example:444", "auth.example", "evil.example"]
)
addresses = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["https://", "https://", "https://", "http://", "//", "ftp://", "https://a@"]),
    places,
    st.sampled_from(["", "/token", "/v2/app/tags/list?n=1", "\\@evil.example", "#x"]),
    st.sampled_from(["", "", "", "\x80", "%0a"]) | st.text(max_size=3),
) | st.sampled_from(["/token", "?last=a", "/v2/_catalog?last=a", "../x", ""])
scopes = st.sampled_from(["repository:app:pull", "repository:other:push", "", "x y z"])
challenges = st.one_of(
    st.builds('Bearer realm="{}",service="s",scope="{}"'.format, addresses, scopes),
    st.just('Basic realm="x"'),
    st.text(max_size=50),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
bodies = st.one_of(
    st.just(b'{"token": "t", "tags": ["a"]}'),
    st.binary(max_size=50),
    json_values.map(lambda value: json.dumps({"tags": value, "token": value}).encode()),
)
statuses = st.sampled_from([200, 206, 204, 300, 401, 403, 404, 500])
Script = tuple[int, dict[str, str], bytes]
replies: st.SearchStrategy[Script] = st.one_of(
    st.tuples(st.just(401), st.builds(dict, **{"WWW-Authenticate": challenges}), st.just(b"")),
    st.tuples(st.just(307), st.builds(dict, Location=addresses), st.just(b"")),
    st.tuples(st.just(200), st.builds(dict, Link=addresses.map('<{}>; rel="next"'.format)), bodies),
    st.tuples(statuses, st.just({}), bodies),
)


def explore(answers: list[Script], act: Callable[[ParentClient], Any]) -> list[httpx.Request]:
    """Act on a parent that gives these answers in turn, for ever; what it was sent."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status, named, body = answers[len(sent) % len(answers)]
        sent.append(request)
        encoded = [(name, value.encode()) for name, value in named.items()]
        return httpx.Response(status, headers=encoded, content=body)

    async def run() -> None:
        client = ParentClient(
            ParentAddress("parent.example", realm_hosts=("auth.example",)),
            Credentials("ada", SecretStr("lace")),
            user_agent="tests",
            limits=replace(IMPATIENT, attempts=2, retry_first=0.0, retry_longest=0.0, pages=20),
            transport=httpx.MockTransport(answer),
        )
        async with client:
            try:
                await act(client)
            except ParentError as error:
                said.append(str(error))

    said: list[str] = []
    asyncio.run(run())
    assert all(sentence.isprintable() and "lace" not in sentence for sentence in said)
    return sent


def check(sent: list[httpx.Request]) -> None:
    """Credentials went to the two trusted places, encrypted, and tokens to the parent alone."""
    for request in sent:
        place = (request.url.scheme, request.url.host, request.url.port)
        if "authorization" in request.headers or b"lace" in request.content:
            trusted = {("https", "parent.example", None), ("https", "auth.example", None)}
            assert place in trusted, request.url
        if request.headers.get("authorization", "").startswith("Bearer"):
            assert place == ("https", "parent.example", None)
        assert request.url.scheme == "https"


@settings(max_examples=400, deadline=None)
@given(st.lists(replies, min_size=1, max_size=6))
def test_listing_from_a_hostile_parent(answers: list[Script]) -> None:
    """A listing comes, or one of our errors, and nothing leaks."""
    check(explore(answers, lambda client: client.list_tags(APP)))


@settings(max_examples=400, deadline=None)
@given(st.lists(replies, min_size=1, max_size=6))
def test_manifests_from_a_hostile_parent(answers: list[Script]) -> None:
    """A manifest comes, or one of our errors, and nothing leaks."""
    check(explore(answers, lambda client: client.get_manifest(APP, Tag("latest"))))
