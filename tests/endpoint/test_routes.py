"""Every address, with every method, asked by every kind of caller."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest

from connected_registry.endpoint.routes import ROUTES, Gate, find_route
from connected_registry.endpoint.target import Resource, parse_target
from connected_registry.errors import Unsupported
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.policy.access import Action, Status
from connected_registry.policy.mode import Mode
from endpoint.people import MINE, OTHERS, rules, token
from endpoint.serving import Site, serve
from storage.store import image

READ, WRITE, DELETE = Action.CONTENT_READ, Action.CONTENT_WRITE, Action.CONTENT_DELETE
LIST = Action.METADATA_READ
IMAGE = image(b"layer")
BLOB = Digest.of(b"layer")
SESSION = "3b241101-e2bb-4255-8caf-4136c566a962"

NEEDS = [
    ("GET", "/v2/{}/tags/list", LIST),
    ("GET", "/v2/{}/manifests/1.0", READ),
    ("GET", f"/v2/{{}}/manifests/{IMAGE.digest}", READ),
    ("PUT", "/v2/{}/manifests/1.0", WRITE),
    ("PUT", f"/v2/{{}}/manifests/{IMAGE.digest}?tag=x", WRITE),
    ("DELETE", "/v2/{}/manifests/gone", DELETE),
    ("DELETE", f"/v2/{{}}/manifests/{BLOB}", DELETE),
    ("GET", f"/v2/{{}}/blobs/{BLOB}", READ),
    ("DELETE", f"/v2/{{}}/blobs/{IMAGE.digest}", DELETE),
    ("POST", "/v2/{}/blobs/uploads/", WRITE),
    ("POST", f"/v2/{{}}/blobs/uploads/?mount={BLOB}", WRITE),
    ("POST", f"/v2/{{}}/blobs/uploads/?digest={BLOB}", WRITE),
    ("GET", f"/v2/{{}}/blobs/uploads/{SESSION}", WRITE),
    ("PATCH", f"/v2/{{}}/blobs/uploads/{SESSION}", WRITE),
    ("PUT", f"/v2/{{}}/blobs/uploads/{SESSION}?digest={BLOB}", WRITE),
    ("DELETE", f"/v2/{{}}/blobs/uploads/{SESSION}", WRITE),
    ("GET", f"/v2/{{}}/referrers/{IMAGE.digest}", READ),
    ("GET", "/acr/v1/{}", LIST),
    ("GET", "/acr/v1/{}/_tags", LIST),
    ("GET", "/acr/v1/{}/_tags/1.0", LIST),
    ("GET", "/acr/v1/{}/_manifests", LIST),
    ("GET", f"/acr/v1/{{}}/_manifests/{IMAGE.digest}", LIST),
]
"""What each address needs, written down a second time and by hand."""

ROLES = {
    "ann": {MINE: {READ, LIST}},
    "bob": {MINE: {READ, WRITE, LIST}},
    "lea": {MINE: {LIST}, OTHERS: {LIST}},
    "root": {MINE: set(Action), OTHERS: set(Action)},
    "nil": {},
}
"""What each caller may do where."""

PAGE = {
    Resource.PAGE,
    Resource.PAGE_SIGN_IN,
    Resource.PAGE_SIGN_OUT,
    Resource.PAGE_DEED,
    Resource.PAGE_FILE,
}
"""Browsers show cookies, so these look at the caller themselves: see test_page_access.py."""

WITHOUT_REPOSITORY = {
    Resource.VERSION,
    Resource.CATALOG,
    Resource.ACR_CATALOG,
    Resource.TOKEN,
    Resource.EXCHANGE,
    Resource.HEALTH,
    *PAGE,
}


def authorization(name: str, password: str | None = None) -> dict[str, str]:
    """A Basic header."""
    pair = f"{name}:{password or name + '-secret'}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two repositories, everyone of `ROLES`, one who is disabled, and no anonymous access."""
    people = rules(
        token("ann", "pull"),
        token("bob", "push"),
        token("lea", "list"),
        token("root", "all"),
        token("nil", "none"),
        token("off", "all", status=Status.DISABLED),
    )
    with serve(tmp_path_factory.mktemp("guarded") / "data", people) as site:
        for repository in (MINE, OTHERS):
            site.store.push(IMAGE, "1.0", repository=RepositoryName(repository))
        yield site


@pytest.fixture(scope="module")
def caller(guarded: Site) -> Iterator[httpx.Client]:
    """A client of it."""
    with guarded.client() as client:
        yield client


def ask(
    client: httpx.Client, method: str, address: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    """One request, with a body where one belongs."""
    content = IMAGE.content if method == "PUT" and "/manifests/" in address else None
    kind = {"Content-Type": IMAGE.media_type} if content else {}
    return client.request(method, address, content=content, headers={**kind, **(headers or {})})


@pytest.mark.parametrize(("method", "address", "action"), NEEDS)
def test_each_route_needs_its_action(
    caller: httpx.Client, method: str, address: str, action: Action
) -> None:
    """Who may is let through, who may not gets 403, whether the repository exists or not."""
    for name, rights in ROLES.items():
        for repository in (MINE, OTHERS, "never/seen"):
            everywhere = {"root": set(Action), "lea": {LIST}}.get(name, set())
            may = action in rights.get(repository, everywhere)
            verbs = [method, "HEAD"] if method == "GET" else [method]
            for verb in verbs:
                answer = ask(caller, verb, address.format(repository), authorization(name))
                refused = answer.status_code in (401, 403)
                assert refused is not may, (name, verb, repository, answer.status_code)
                if refused:
                    assert answer.status_code == 403
                if refused and verb != "HEAD":
                    assert answer.json()["errors"][0]["code"] == "DENIED"


@pytest.mark.parametrize(("method", "address", "action"), NEEDS)
def test_strangers_get_a_challenge_and_learn_nothing(
    caller: httpx.Client, method: str, address: str, action: Action
) -> None:
    """The same 401 for what exists and what does not."""
    for headers in ({}, {"Authorization": "Bearer forged.token.here"}):
        answers = [
            ask(caller, method, address.format(repository), headers)
            for repository in (MINE, "never/seen")
        ]
        seen, unseen = [
            (answer.status_code, answer.text.replace(MINE, "?").replace("never/seen", "?"))
            for answer in answers
        ]
        assert seen == unseen
        assert seen[0] == 401
        challenge = answers[0].headers["WWW-Authenticate"]
        assert challenge.startswith('Bearer realm="http://127.0.0.1:')
        assert f"repository:{MINE}:" in challenge


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "wrong"), ("ghost", "x"), ("off", "off-secret"), ("ann", " ")]
)
def test_bad_credentials_are_all_alike(caller: httpx.Client, name: str, password: str) -> None:
    """A wrong password, an unknown name and a disabled token get the same answer everywhere."""
    for address in ("/v2/", "/v2/_catalog", f"/v2/{MINE}/manifests/1.0", "/acr/oauth2/token"):
        answer = caller.get(address, headers=authorization(name, password))
        assert answer.status_code == 401
        [error] = answer.json()["errors"]
        assert error["message"] == "invalid user name or password"
        scheme = "Basic" if "token" in address else "Bearer"
        assert answer.headers["WWW-Authenticate"].startswith(f"{scheme} realm=")


def test_the_table_above_knows_every_route() -> None:
    """A route that is added must be added there too."""
    written = {
        (parse_target(path.partition("?")[0].format("a").encode()).resource, method)
        for method, path, _ in NEEDS
    }
    actual = {
        (resource, method)
        for resource, methods in ROUTES.items()
        for method in methods
        if resource not in WITHOUT_REPOSITORY
    }

    assert written == actual
    assert set(ROUTES) == set(Resource)


def test_no_route_is_without_a_need() -> None:
    """Addresses with a repository need an action; which others do not is written here."""
    free = {
        resource
        for resource, methods in ROUTES.items()
        for route in methods.values()
        if route.need in (Gate.NOTHING, Gate.ANYONE)
    }

    assert free == {Resource.TOKEN, Resource.EXCHANGE, Resource.HEALTH, *PAGE}
    for resource, methods in ROUTES.items():
        for route in methods.values():
            assert isinstance(route.need, Gate) is (resource in WITHOUT_REPOSITORY)


@pytest.mark.parametrize("resource", list(Resource))
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", ""])
def test_other_methods_do_not_exist(resource: Resource, method: str) -> None:
    """405 with the ones that do."""
    with pytest.raises(Unsupported) as refused:
        find_route(resource, method)

    assert set(ROUTES[resource]) <= set(refused.value.headers["Allow"].split(", "))


def test_a_read_only_replica_refuses_every_change_in_the_originals_words(
    guarded: Site, caller: httpx.Client
) -> None:
    """405, whoever asks, upload sessions included; and nothing has changed."""
    before = guarded.store.stored_files()
    guarded.mode = Mode.READ_ONLY
    try:
        for method, address, action in NEEDS:
            if action in (WRITE, DELETE):
                for headers in ({}, authorization("root")):
                    answer = ask(caller, method, address.format(MINE), headers)
                    assert answer.status_code == 405
                    assert answer.json()["errors"] == [
                        {
                            "code": "DENIED",
                            "message": "This operation is not allowed on this registry.",
                        }
                    ]
        assert caller.get(f"/v2/{MINE}/manifests/1.0", headers=authorization("ann")).is_success
    finally:
        guarded.mode = Mode.READ_WRITE
    assert guarded.store.stored_files() == before


def test_a_mount_takes_only_from_where_the_caller_may_pull(
    guarded: Site, caller: httpx.Client
) -> None:
    """With ``from`` and without, by password and by token: else it is an upload like any other."""
    secret = guarded.store.push_blob(b"secret", RepositoryName(OTHERS))
    uploads = "/v2/team/new/blobs/uploads/"
    for query in (f"?mount={secret}&from={OTHERS}", f"?mount={secret}"):
        answer = caller.post(uploads + query, headers=authorization("bob"))
        assert answer.status_code == 202
    answer = caller.post(f"{uploads}?mount={secret}&from={OTHERS}", headers=authorization("root"))
    assert answer.status_code == 201
    narrow = caller.get(
        "/acr/oauth2/token",
        params={"scope": "repository:team/new:pull,push"},
        headers=authorization("bob"),
    ).json()["token"]
    answer = caller.post(
        f"{uploads}?mount={BLOB}&from={MINE}", headers={"Authorization": f"Bearer {narrow}"}
    )
    assert answer.status_code == 401
    assert (
        f'scope="repository:team/new:pull,push repository:{MINE}:pull"'
        in (answer.headers["WWW-Authenticate"])
    )
    assert (
        caller.head(f"/v2/team/new/blobs/{BLOB}", headers=authorization("bob")).status_code == 404
    )


def test_an_upload_belongs_to_whoever_began_it(caller: httpx.Client) -> None:
    """Another caller with the same rights does not find it."""
    location = caller.post(f"/v2/{MINE}/blobs/uploads/", headers=authorization("bob")).headers[
        "Location"
    ]
    for method in ("GET", "PATCH", "DELETE"):
        answer = caller.request(method, location, headers=authorization("root"))
        assert answer.status_code == 404
    answer = caller.put(f"{location}?digest={BLOB}", headers=authorization("root"))
    assert answer.status_code == 404

    assert caller.delete(location, headers=authorization("bob")).status_code == 204


def test_the_catalogue_shows_what_the_caller_may_pull(caller: httpx.Client) -> None:
    """In both its forms, also across pages."""
    for address in ("/v2/_catalog", "/acr/v1/_catalog"):
        assert caller.get(address).status_code == 401
        for name, expected in (("ann", [MINE]), ("lea", []), ("nil", [])):
            answer = caller.get(address, headers=authorization(name))
            assert [
                each for each in answer.json()["repositories"] if each != "team/new"
            ] == expected
        everything = caller.get(address, headers=authorization("root")).json()["repositories"]
        assert {MINE, OTHERS} <= set(everything)
        page = caller.get(f"{address}?n=1", headers=authorization("ann"))
        assert (page.json()["repositories"], "Link" in page.headers) == ([MINE], False)
