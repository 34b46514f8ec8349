"""The 401 dance: which Authorization goes where, how often, and what is refused."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from connected_registry.errors import ParentFailed, ParentUnauthorized
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.address import ParentAddress
from connected_registry.parent.auth import ParentAuth
from connected_registry.parent.credentials import IDENTITY_TOKEN_USER, Credentials
from peers.clients import client_of
from peers.images import make_image
from peers.scripted import Recorded, Reply, ScriptedRegistry
from peers.token_server import SERVICE, TokenServer

APP = RepositoryName("team/app")
LATEST = Tag("latest")
MANIFEST = "/v2/team/app/manifests/latest"
ADA = ("ada", "lace")


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    """A token server that knows Ada, and a refresh token of hers."""
    with TokenServer(tmp_path, users=dict([ADA]), refresh_tokens={"again": "ada"}) as tokens:
        yield tokens


def guarded(realm: str, *, scheme: str = "Bearer", bad: Collection[str] = ()) -> ScriptedRegistry:
    """A registry that asks for a token of ``realm``; any token not in ``bad`` will do."""
    registry = ScriptedRegistry()
    image = make_image()

    def answer(request: Recorded) -> Reply:
        given = request.authorization
        if given and given.startswith(scheme) and given not in bad:
            return Reply(200, {"Content-Type": image.manifest.media_type}, image.manifest.data)
        repository = request.path.removeprefix("/v2/").partition("/manifests/")[0]
        challenge = f'realm="{realm}",service="{SERVICE}",scope="repository:{repository}:pull"'
        return Reply(401, {"WWW-Authenticate": f"{scheme} {challenge}"})

    for name in ("team/app", "team/other"):
        registry.on(f"/v2/{name}/manifests/latest", answer)
    return registry


async def test_basic_is_sent_when_asked_for_and_then_at_once() -> None:
    """The first request learns the scheme, later ones save the round trip."""
    with guarded("tests", scheme="Basic") as registry:
        async with client_of(registry, ADA) as client:
            await client.get_manifest(APP, LATEST)
            await client.get_manifest(APP, LATEST)
        basic = "Basic YWRhOmxhY2U="
        assert [request.authorization for request in registry.requests] == [None, basic, basic]


async def test_a_wrong_password_is_tried_once() -> None:
    """A refused password is unauthorised after one try, not five."""
    with guarded("tests", scheme="Basic", bad=("Basic YWRhOmxhY2U=",)) as registry:
        async with client_of(registry, ADA) as client:
            with pytest.raises(ParentUnauthorized):
                await client.get_manifest(APP, LATEST)
        assert len(registry.requests) == 2


async def test_a_parent_that_wants_a_password_where_none_is_configured() -> None:
    """The error says what is missing."""
    with guarded("tests", scheme="Basic") as registry:
        async with client_of(registry) as client:
            with pytest.raises(ParentUnauthorized, match="none is configured"):
                await client.get_manifest(APP, LATEST)


async def test_bearer_by_get(tokens: TokenServer) -> None:
    """A password goes to the token server by Basic, and only the token to the parent."""
    with guarded(tokens.realm) as registry:
        async with client_of(registry, ADA, realm_hosts=(tokens.address,)) as client:
            await client.get_manifest(APP, LATEST)
        assert [(each.method, each.grant, each.username) for each in tokens.asked] == [
            ("GET", "basic", "ada")
        ]
        assert tokens.asked[0].scopes == ("repository:team/app:pull",)
        sent = registry.requests[-1].authorization
        assert sent is not None
        assert sent.startswith("Bearer ")
        assert all("Basic" not in (each.authorization or "") for each in registry.requests)


async def test_bearer_by_post_where_get_is_unknown(tmp_path: Path) -> None:
    """A token server without the GET form is asked by the password grant."""
    with (
        TokenServer(tmp_path, users=dict([ADA]), get=False) as tokens,
        guarded(tokens.realm) as registry,
    ):
        async with client_of(registry, ADA, realm_hosts=(tokens.address,)) as client:
            await client.get_manifest(APP, LATEST)
        assert [each.grant for each in tokens.asked] == ["basic", "password"]


@pytest.mark.parametrize("username", ["", IDENTITY_TOKEN_USER])
async def test_an_identity_token_is_exchanged(tokens: TokenServer, username: str) -> None:
    """A refresh token goes by POST in its own grant."""
    with guarded(tokens.realm) as registry:
        async with client_of(
            registry, (username, "again"), realm_hosts=(tokens.address,)
        ) as client:
            await client.get_manifest(APP, LATEST)
        assert [(each.method, each.grant) for each in tokens.asked] == [("POST", "refresh_token")]


async def test_an_identity_token_goes_as_a_password_where_post_is_unknown(tmp_path: Path) -> None:
    """Azure's form of an identity token also works at servers that only know GET."""
    users = {IDENTITY_TOKEN_USER: "again"}
    with (
        TokenServer(tmp_path, users=users, post=False) as tokens,
        guarded(tokens.realm) as registry,
    ):
        user = (IDENTITY_TOKEN_USER, "again")
        async with client_of(registry, user, realm_hosts=(tokens.address,)) as client:
            await client.get_manifest(APP, LATEST)
        assert [each.grant for each in tokens.asked] == ["refresh_token", "basic"]


async def test_an_identity_token_without_a_name_has_no_other_form(tmp_path: Path) -> None:
    """It is not sent as the password of nobody."""
    with TokenServer(tmp_path, post=False) as tokens, guarded(tokens.realm) as registry:
        async with client_of(registry, ("", "again"), realm_hosts=(tokens.address,)) as client:
            with pytest.raises(ParentFailed):
                await client.get_manifest(APP, LATEST)
        assert [each.grant for each in tokens.asked] == ["refresh_token"]


async def test_anonymous_tokens_come_from_any_decent_host(tokens: TokenServer) -> None:
    """Without credentials, as at Docker Hub, there is nothing to leak and no host to configure."""
    with guarded(tokens.realm) as registry:
        async with client_of(registry) as client:
            await client.get_manifest(APP, LATEST)
        assert [(each.grant, "authorization" in each.headers) for each in tokens.asked] == [
            ("none", False)
        ]


async def test_credentials_do_not_go_to_a_realm_that_is_not_configured(tokens: TokenServer) -> None:
    """A foreign token server gets nothing at all, and the error names the remedy."""
    with guarded(tokens.realm) as registry:
        async with client_of(registry, ADA) as client:
            with pytest.raises(ParentUnauthorized, match=f"add {tokens.address} to the realm"):
                await client.get_manifest(APP, LATEST)
        assert tokens.asked == []
        assert [request.authorization for request in registry.requests] == [None]


@pytest.mark.parametrize(
    "realm",
    [
        "http://ada:lace@{address}/token",
        "http://169.254.169.254/token",
        "ftp://{address}/token",
        "http://[::1",
        "",
    ],
)
@pytest.mark.parametrize("user", [None, ADA])
async def test_strange_realms_are_refused(
    tokens: TokenServer, realm: str, user: tuple[str, str] | None
) -> None:
    """User names, metadata addresses, other schemes and nonsense in a realm end the dance."""
    with guarded(realm.format(address=tokens.address)) as registry:
        async with client_of(registry, user, realm_hosts=(tokens.address,)) as client:
            with pytest.raises(ParentFailed):
                await client.get_manifest(APP, LATEST)
    assert tokens.asked == []


async def test_a_relative_realm_is_the_parents_own(tokens: TokenServer) -> None:
    """A realm without a host is below the parent, as Azure's and our own are."""
    with guarded("/oauth2/token") as registry:
        registry.on("/oauth2/token", Reply.json({"access_token": "t", "expires_in": 60}))
        async with client_of(registry, ADA) as client:
            await client.get_manifest(APP, LATEST)
        assert registry.requests[-1].authorization == "Bearer t"


async def test_a_token_is_kept_and_shared(tokens: TokenServer) -> None:
    """Many requests at the same time need one token, and later ones none."""
    with guarded(tokens.realm) as registry:
        async with client_of(registry, ADA, realm_hosts=(tokens.address,)) as client:
            await asyncio.gather(*(client.get_manifest(APP, LATEST) for _ in range(10)))
            await client.get_manifest(APP, LATEST)
    assert len(tokens.asked) == 1


async def test_the_form_of_a_scope_is_learned(tokens: TokenServer) -> None:
    """A second repository is asked with a token at once, for the scope that fits it."""
    with guarded(tokens.realm) as registry:
        async with client_of(registry, ADA, realm_hosts=(tokens.address,)) as client:
            await client.get_manifest(APP, LATEST)
            await client.get_manifest(RepositoryName("team/other"), LATEST)
        assert len(registry.requests) == 3
    assert tokens.asked[-1].scopes == ("repository:team/other:pull",)


async def test_a_token_about_to_expire_is_not_used(tmp_path: Path) -> None:
    """A token whose time is nearly up is replaced without being tried."""
    now = [1000.0]
    with (
        TokenServer(tmp_path, users=dict([ADA]), lifetime=60) as tokens,
        guarded(tokens.realm) as registry,
    ):
        auth = ParentAuth(
            ParentAddress(registry.address, "http", realm_hosts=(tokens.address,)),
            Credentials(ADA[0], SecretStr(ADA[1])),
            headers={},
            timeout=httpx.Timeout(5),
            body_limit=10_000,
            clock=lambda: now[0],
        )
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            for now[0] in (1000.0, 1040.0, 1055.0):
                assert (await client.get(f"{registry.url}{MANIFEST}")).status_code == 200
        assert len(tokens.asked) == 2
        assert [each.authorization is None for each in registry.requests] == [
            True,
            False,
            False,
            False,
        ]


async def test_nothing_is_attached_for_another_host(tokens: TokenServer) -> None:
    """Used for a request to another host by mistake, it refuses rather than leaks."""
    address = ParentAddress("parent.example")
    auth = ParentAuth(address, None, headers={}, timeout=httpx.Timeout(5), body_limit=10_000)
    async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
        with pytest.raises(ParentFailed, match="not the parent"):
            await client.get(tokens.url)
    assert tokens.asked == []


async def test_a_revoked_token_is_replaced_once() -> None:
    """A kept token that is refused leads to a new one; a new one that is refused is the end."""
    bad: set[str] = set()
    with guarded("/token", bad=bad) as registry:
        issued = itertools.count()
        registry.on("/token", lambda _: Reply.json({"token": f"t{next(issued)}"}))
        async with client_of(registry, ADA) as client:
            await client.get_manifest(APP, LATEST)
            bad |= {"Bearer t0"}
            await client.get_manifest(APP, LATEST)
            assert registry.requests[-1].authorization == "Bearer t1"
            bad |= {"Bearer t1", "Bearer t2"}
            with pytest.raises(ParentUnauthorized):
                await client.get_manifest(APP, LATEST)
        assert len(registry.asked("/token")) == 3


async def test_a_refused_login_is_not_repeated_by_those_who_wait(tokens: TokenServer) -> None:
    """Ten requests with a wrong password make one attempt to log in."""
    with guarded(tokens.realm) as registry:
        async with client_of(registry, ("ada", "wrong"), realm_hosts=(tokens.address,)) as client:
            results = await asyncio.gather(
                *(client.get_manifest(APP, LATEST) for _ in range(10)), return_exceptions=True
            )
    assert [type(each) for each in results] == [ParentUnauthorized] * 10
    assert "'ada'" in str(results[0])
    assert "wrong" not in str(results[0])
    assert len(tokens.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply.json({}),
        Reply.json([]),
        Reply.json({"token": ""}),
        Reply.json({"token": 5}),
        Reply.json({"token": "a b"}),
        Reply.json({"token": "a\r\nX: y"}),
        Reply.json({"token": "x" * 300_000}),
        Reply(body=b"<html>"),
        Reply(body=b"[" * 100_000),
        Reply(body=b"x" * 65536, endless=True),
        Reply(404),
        Reply(307, {"Location": "/elsewhere"}),
    ],
)
async def test_answers_that_hold_no_token(reply: Reply) -> None:
    """Nonsense, endless bodies and redirects from a token server are failures, told once."""
    with guarded("/token") as registry:
        registry.on("/token", reply)
        async with client_of(registry) as client:
            with pytest.raises(ParentFailed):
                await client.get_manifest(APP, LATEST)
        assert len(registry.asked("/token")) == 1


async def test_a_throttled_token_server_is_asked_again() -> None:
    """What passes by itself at the token server is tried again like anything else."""
    with guarded("/token") as registry:
        registry.on("/token", Reply(429, {"Retry-After": "0"}), Reply.json({"token": "t"}))
        async with client_of(registry) as client:
            await client.get_manifest(APP, LATEST)
