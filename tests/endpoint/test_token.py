from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from connected_registry.endpoint.access import AccessRules
from connected_registry.oci.challenge import parse_challenges
from endpoint.people import MINE, OTHERS, rules, token
from endpoint.serving import KEY, Site, serve

PATHS = ["/acr/oauth2/token", "/oauth2/token"]
ANN = ("ann", "ann-secret")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A registry with one who pulls and one who pushes."""
    people = rules(token("ann", "pull"), token("bob", "push"))
    with serve(tmp_path_factory.mktemp("guarded") / "data", people) as site:
        yield site


@pytest.fixture
def caller(guarded: Site) -> Iterator[httpx.Client]:
    """A client of it."""
    with guarded.client() as client:
        yield client


def granted(answer: httpx.Response) -> list[dict[str, Any]]:
    """What the token in an answer is good for."""
    assert answer.status_code == 200, answer.text
    claims = jwt.decode(
        answer.json()["token"],
        KEY,
        ["HS256"],
        audience="test-site",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    access: list[dict[str, Any]] = claims["access"]
    return access


@pytest.mark.parametrize("path", PATHS)
def test_a_token_for_a_password(caller: httpx.Client, path: str) -> None:
    """Under both names, for less than an hour, with no time that clients would compare."""
    answer = caller.get(
        path,
        params={"service": "x", "scope": f"repository:{MINE}:pull,push", "account": "ann"},
        auth=ANN,
    )
    document = answer.json()

    assert document["token"] == document["access_token"]
    assert 60 <= document["expires_in"] <= 3600
    assert not {"issued_at", "refresh_token"} & set(document)
    assert granted(answer) == [
        {"type": "repository", "name": MINE, "actions": ["pull", "metadata_read"]}
    ]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
def test_a_token_for_a_form(caller: httpx.Client, path: str) -> None:
    """As containerd asks first."""
    answer = caller.post(
        path,
        data={
            "grant_type": "password",
            "service": "x",
            "client_id": "containerd-client",
            "username": "ann",
            "password": "ann-secret",
            "scope": f"repository:{MINE}:pull",
        },
    )

    assert [entry["name"] for entry in granted(answer)] == [MINE]


def test_scopes_are_merged(caller: httpx.Client) -> None:
    """Repeated, in one string, and several for one repository."""
    answer = caller.get(
        PATHS[0],
        params={
            "scope": [
                f"repository:{MINE}:pull",
                f"repository:{MINE}:push repository:team/x:pull",
                "registry:catalog:*",
            ]
        },
        auth=("bob", "bob-secret"),
    )

    assert granted(answer) == [
        {"type": "repository", "name": MINE, "actions": ["pull", "push", "metadata_read"]},
        {"type": "repository", "name": "team/x", "actions": ["pull", "metadata_read"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ]


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (f"repository:{OTHERS}:pull", 200),
        ("repository:*:*", 200),
        ("repository::pull", 200),
        ("repository:a/b:pull", 200),
        ("gateway:x:config", 200),
        ("", 200),
        ("nonsense", 400),
        ("repository:a\r\nb:pull", 400),
        ("repository:" + "a" * 10_000 + ":pull", 400),
        (" ".join(f"repository:r{n}:pull" for n in range(1000)), 414),
        (" ".join(f"repository:{n}:pull" for n in range(500)), 400),
    ],
)
def test_scopes_beyond_ones_rights_grant_nothing_and_absurd_ones_are_refused(
    caller: httpx.Client, scope: str, status: int
) -> None:
    """A smaller grant is no error; what is malformed or too much is."""
    answer = caller.get(PATHS[0], params={"scope": scope}, auth=ANN)

    assert answer.status_code == status
    if status == 200:
        assert granted(answer) == []


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "ann", "password": "wrong"}, 401),
        ({"grant_type": "password", "username": "ann"}, 401),
        ({"grant_type": "password"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400),
        ({}, 400),
        ({"grant_type": "password", "username": "ann" * 9000, "password": "x"}, 400),
    ],
)
def test_forms_that_get_no_token(caller: httpx.Client, form: dict[str, str], status: int) -> None:
    """Wrong credentials are 401, another kind of grant or a huge form 400."""
    answer = caller.post(PATHS[0], data=form)

    assert answer.status_code == status
    assert answer.json()["errors"][0]["message"]


def test_a_form_has_its_type(caller: httpx.Client) -> None:
    """JSON and multipart are not parsed."""
    assert caller.post(PATHS[0], json={"grant_type": "password"}).status_code == 400


@pytest.mark.parametrize("path", ["/oauth2/exchange", "/acr/oauth2/exchange"])
def test_azure_tokens_are_not_exchanged(caller: httpx.Client, path: str) -> None:
    """404, which makes clients fall back, with a sentence for people."""
    answer = caller.post(path, data={"grant_type": "access_token", "access_token": "x"})

    assert answer.status_code == 404
    assert "client token" in answer.json()["errors"][0]["message"]


def test_nobody_gets_a_token_only_where_nobody_may_pull(
    caller: httpx.Client, tmp_path: Path
) -> None:
    """Then it is good for reading."""
    for answer in (caller.get(PATHS[0]), caller.get(PATHS[0], auth=("", ""))):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    with serve(tmp_path / "data", rules(anonymous_pull=True)) as site, site.client() as client:
        answer = client.get(PATHS[0], params={"scope": f"repository:{MINE}:pull,push"})
        assert granted(answer) == [
            {"type": "repository", "name": MINE, "actions": ["pull", "metadata_read"]}
        ]


def test_the_dance_of_a_client(caller: httpx.Client, guarded: Site) -> None:
    """Challenge, token on the same origin, answer; and a narrower token is asked for more."""
    first = caller.get("/v2/")
    [challenge] = parse_challenges(first.headers.get_list("WWW-Authenticate"))
    assert challenge.scheme == "bearer"
    assert challenge.parameters == {
        "realm": f"{guarded.url}/acr/oauth2/token",
        "service": guarded.address,
    }
    bearer = caller.get(challenge.parameters["realm"], auth=("bob", "bob-secret")).json()["token"]
    headers = {"Authorization": f"Bearer {bearer}"}
    assert caller.get("/v2/", headers=headers).status_code == 200

    refused = caller.post(f"/v2/{MINE}/blobs/uploads/", headers=headers)
    [challenge] = parse_challenges(refused.headers.get_list("WWW-Authenticate"))
    assert refused.status_code == 401
    assert challenge.parameters["error"] == "insufficient_scope"
    assert challenge.parameters["scope"] == f"repository:{MINE}:pull,push"
    wider = caller.get(
        challenge.parameters["realm"],
        params={"scope": challenge.parameters["scope"]},
        auth=("bob", "bob-secret"),
    ).json()["token"]
    headers = {"Authorization": f"Bearer {wider}"}
    assert caller.post(f"/v2/{MINE}/blobs/uploads/", headers=headers).status_code == 202


def test_a_forged_token_is_named_as_such(caller: httpx.Client) -> None:
    """So that clients throw theirs away and ask for another."""
    forged = jwt.encode({"sub": "ann"}, bytes(32), "HS256")
    answer = caller.get(f"/v2/{MINE}/tags/list", headers={"Authorization": f"Bearer {forged}"})
    [challenge] = parse_challenges(answer.headers.get_list("WWW-Authenticate"))

    assert answer.status_code == 401
    assert challenge.parameters["error"] == "invalid_token"
    assert challenge.parameters["scope"] == f"repository:{MINE}:pull"


def test_the_realm_is_the_name_the_client_used(tmp_path: Path) -> None:
    """Behind a configured proxy that is the proxy's; where a login server is set, only that."""
    proxied = {"X-Forwarded-Host": "edge.example:8000", "X-Forwarded-Proto": "https"}
    with serve(tmp_path / "a", rules()) as site, site.client() as client:
        realm = client.get("/v2/", headers=proxied).headers["WWW-Authenticate"]
        assert f'realm="{site.url}/acr/oauth2/token"' in realm
    with (
        serve(tmp_path / "b", rules(), trusted_proxies=("127.0.0.1",)) as site,
        site.client() as client,
    ):
        realm = client.get("/v2/", headers=proxied).headers["WWW-Authenticate"]
        assert 'realm="https://edge.example:8000/acr/oauth2/token"' in realm
    with (
        serve(tmp_path / "c", rules(), login_server="edge.example") as site,
        site.client() as client,
    ):
        answer = client.get("/v2/", headers={"Host": "edge.example:5000"})
        assert (
            'realm="http://edge.example:5000/acr/oauth2/token"'
            in (answer.headers["WWW-Authenticate"])
        )
        assert client.get("/v2/").status_code == 421
        assert client.get("/healthz").status_code == 200


def test_an_open_registry_gives_tokens_to_whoever_wants_one(tmp_path: Path) -> None:
    """Log-ins of tools that insist on one work."""
    with serve(tmp_path / "data", AccessRules(open=True)) as site, site.client() as client:
        answer = client.get(
            PATHS[0], params={"scope": f"repository:{MINE}:pull,push"}, auth=("x", "y")
        )
        assert len(granted(answer)[0]["actions"]) == 3
        assert client.get("/v2/", auth=("x", "y")).status_code == 200
