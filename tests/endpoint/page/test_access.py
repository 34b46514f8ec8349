"""Who sees the page and who may act on it, over a real server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from connected_registry.endpoint.page.session import COOKIE
from connected_registry.policy.access import ClientToken, Status
from endpoint.pages import read
from endpoint.people import MINE, rules, token
from endpoint.serving import Site, serve
from endpoint.sites import COMPLETE, OFFLINE

PEOPLE: tuple[ClientToken, ...] = (
    token("ann", "pull"),
    token("lea", "list"),
    token("root", "all"),
    token("nil", "none"),
    token("off", "all", status=Status.DISABLED),
)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Site]:
    """A site that knows `PEOPLE`; anyone may pull."""
    with serve(tmp_path / "data", rules(*PEOPLE, anonymous_pull=True)) as site:
        site.facts = OFFLINE
        yield site


@pytest.fixture
def browser(guarded: Site) -> Iterator[httpx.Client]:
    """Keeps cookies."""
    with guarded.client(follow_redirects=True) as client:
        yield client


def sign_in(client: httpx.Client, name: str, password: str | None = None) -> httpx.Response:
    """Send the form."""
    fields = {"name": name, "password": password or f"{name}-secret"}
    return client.post("/_/sign-in", data=fields)


def basic(name: str) -> dict[str, str]:
    """A Basic header."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{name}-secret".encode()).decode()}


def test_strangers_are_asked_to_sign_in(guarded: Site, browser: httpx.Client) -> None:
    """Also where anyone may pull; nothing of the site is told."""
    answer = browser.get("/")
    page = read(answer)

    assert answer.url.path == "/_/sign-in"
    assert {"name", "password"} == {each["name"] for each in page.all("input")}
    assert "Complete" not in answer.text
    assert "headquarters" not in answer.text
    with guarded.client() as client:
        part = client.get("/", headers={"HX-Request": "true"})
        assert (part.status_code, part.headers["HX-Refresh"], part.text) == (200, "true", "")
        assert client.get("/_/do/sync").status_code == 401
        assert client.post("/_/do/sync").status_code == 401
    assert guarded.calls == []


def test_a_browser_signs_in_and_out(browser: httpx.Client) -> None:
    """By form and cookie; the cookie is out of reach of scripts and of other sites."""
    answer = sign_in(browser, "root")
    assert read(answer).text.startswith("Complete as of 09:39 UTC – plant7.example.com")
    [moved] = answer.history
    assert "HttpOnly; SameSite=Strict" in moved.headers["Set-Cookie"]
    assert moved.status_code == 303
    assert browser.get("/_/sign-in").url.path == "/"

    out = browser.post("/_/sign-out", data={})
    assert out.url.path == "/_/sign-in"
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize(
    ("name", "password"),
    [("root", "wrong"), ("ghost", "ghost-secret"), ("off", "off-secret")],
)
def test_wrong_sign_ins_are_all_alike(browser: httpx.Client, name: str, password: str) -> None:
    """One sentence for every reason, and no cookie."""
    answer = sign_in(browser, name, password)
    page = read(answer)

    assert answer.status_code == 403
    assert "No token has this name and password." in page.text
    assert page.field("name") == name
    assert not browser.cookies


def test_who_may_read_nothing_is_told_what_is_needed(browser: httpx.Client) -> None:
    """In place of an empty page."""
    answer = sign_in(browser, "nil")

    assert answer.status_code == 403
    assert "metadata/read" in read(answer).text
    assert browser.get("/", headers=basic("nil")).status_code == 403


def test_guessing_is_slowed_down(browser: httpx.Client) -> None:
    """As at every other door, with how long to wait."""
    answers = [sign_in(browser, "root", f"guess {attempt}") for attempt in range(25)]

    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert "Too many failed log-ins" in read(answers[-1]).text


def test_basic_and_bearer_open_the_page_too(browser: httpx.Client) -> None:
    """For programs; a wrong password gets a challenge that curl understands."""
    assert browser.get("/", headers=basic("root")).status_code == 200
    wrong = browser.get("/", headers={"Authorization": "Basic eDp5"})
    assert wrong.status_code == 401
    assert wrong.headers["WWW-Authenticate"].startswith('Basic realm="127.0.0.1:')
    granted = browser.get(
        "/acr/oauth2/token",
        params={"scope": f"repository:{MINE}:metadata_read"},
        headers=basic("ann"),
    ).json()["token"]
    assert browser.get("/", headers={"Authorization": f"Bearer {granted}"}).status_code == 200
    nothing = browser.get("/acr/oauth2/token").json()["token"]
    answer = browser.get("/", headers={"Authorization": f"Bearer {nothing}"})
    assert answer.url.path == "/_/sign-in"


def test_a_reader_sees_its_own_repositories_and_no_buttons(
    guarded: Site, browser: httpx.Client
) -> None:
    """What its scope map names, and no sentence that could name others."""
    guarded.store.push_blob(b"x")
    text = read(browser.get("/", headers=basic("ann"))).text
    assert "line-4/vision" not in text
    assert "connection timed out" not in text
    page = read(browser.get("/", headers=basic("lea")))
    assert "line-4/vision" in page.text
    assert page.deeds == []
    for method in ("GET", "POST"):
        answer = browser.request(method, "/_/do/pause", headers=basic("lea"))
        assert answer.status_code == 403
        assert "metadata/write" in read(answer).text
    assert guarded.calls == []


def test_an_action_is_asked_about_and_then_done(guarded: Site, browser: httpx.Client) -> None:
    """Without JavaScript: a link, a question, a form."""
    page = read(sign_in(browser, "root"))
    assert page.deeds == ["sync", "pause", "verify", "collect"]
    question = read(browser.get("/_/do/pause"))
    assert "Pause syncing?" in question.text
    assert guarded.calls == []
    done = browser.post("/_/do/pause", data={"token": question.field("token")})

    assert guarded.calls == ["pauseSync"]
    assert "Syncing is paused." in read(done).text
    assert browser.get("/_/do/reboot").status_code == 404


def test_an_action_that_is_refused_says_why(guarded: Site, browser: httpx.Client) -> None:
    """In the method's own words."""
    sign_in(browser, "root")
    guarded.method_answer = (409, {"error": "syncing is paused by the twin"})
    form = {"token": read(browser.get("/_/do/sync")).field("token")}
    answer = browser.post("/_/do/sync", data=form)

    assert answer.status_code == 409
    assert "Sync now: syncing is paused by the twin." in read(answer).text


@pytest.mark.parametrize(
    ("headers", "fields", "status"),
    [
        ({}, {"other": "x"}, 403),
        ({}, {"token": "forged.token.x"}, 403),
        ({"Origin": "http://evil.example"}, None, 403),
        ({"Origin": "null"}, None, 403),
        ({"Sec-Fetch-Site": "cross-site"}, None, 403),
        ({"Sec-Fetch-Site": "same-site"}, None, 403),
        ({"Content-Type": "text/plain"}, None, 400),
    ],
)
def test_other_sites_cannot_act_in_a_readers_name(
    guarded: Site,
    browser: httpx.Client,
    headers: dict[str, str],
    fields: dict[str, str] | None,
    status: int,
) -> None:
    """Without our form, from another page, or as a form that needs no preflight."""
    sign_in(browser, "root")
    if fields is None:
        fields = {"token": read(browser.get("/_/do/pause")).field("token")}
    answer = browser.post("/_/do/pause", data=fields, headers=headers)

    assert answer.status_code == status
    assert guarded.calls == []
    if status == 403 and headers:
        assert browser.post("/_/sign-in", data={}, headers=headers).status_code == 403


def test_a_forms_token_is_for_one_reader(guarded: Site, browser: httpx.Client) -> None:
    """Taken from another's page it is worth nothing."""
    token_of_root = read(browser.get("/_/do/pause", headers=basic("root"))).field("token")
    guarded.access.configure(rules(token("root", "all"), token("eve", "all")))
    answer = browser.post("/_/do/pause", data={"token": token_of_root}, headers=basic("eve"))

    assert answer.status_code == 403
    assert guarded.calls == []


def test_an_open_replica_shows_everything_to_this_machine(site: Site, client: httpx.Client) -> None:
    """Without a question, under names that only this machine can have."""
    site.facts = COMPLETE
    port = site.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    assert read(client.get("/")).deeds == ["sync", "pause", "verify", "collect"]
    form = {"token": read(client.get("/_/do/sync")).field("token")}
    assert client.post("/_/do/sync", data=form).status_code == 303
    assert site.calls == ["syncNow"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_a_web_page_cannot_reach_an_open_replica_by_giving_its_name_away(
    site: Site, client: httpx.Client, host: str
) -> None:
    """Neither to look nor to act; pulling is as before."""
    for address in ("/", "/_/do/sync", "/_/sign-in"):
        assert client.get(address, headers={"Host": host}).status_code == 403
    assert client.post("/_/do/sync", headers={"Host": host}).status_code == 403
    assert client.get("/v2/", headers={"Host": host}).status_code == 200
    assert site.calls == []


def test_the_login_servers_own_name_is_fine(tmp_path: Path) -> None:
    """It cannot be given away: every other name is refused before."""
    with serve(tmp_path / "data", login_server="registry.example") as site, site.client() as client:
        assert client.get("/", headers={"Host": "registry.example"}).status_code == 200
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
