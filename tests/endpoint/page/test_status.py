"""The page over a real server, read as a browser without JavaScript would."""

from __future__ import annotations

import httpx
import pytest

from connected_registry.endpoint.page.facts import SiteFacts
from endpoint.pages import Page, read
from endpoint.serving import Site
from endpoint.sites import ALL, COMPLETE, PRESSED, SYNCING, hostile

PART = {"HX-Request": "true"}


@pytest.mark.parametrize("name", list(ALL))
def test_every_state_is_a_whole_page(site: Site, client: httpx.Client, name: str) -> None:
    """Well formed, with one headline, and nothing from elsewhere."""
    site.facts = ALL[name]
    page = read(client.get("/"))

    assert len(page.all("h1")) == 1
    assert page.all("html") == [{"lang": "en"}]
    addresses = [
        each.get("src") or each.get("href", "")
        for tag in ("script", "link", "img", "a")
        for each in page.all(tag)
    ]
    assert all(address.startswith(("/", "#")) for address in addresses)
    assert not any("style" in each or "onclick" in each for _, each in page.elements)
    assert all("src" in each for each in page.all("script"))
    assert not page.all("style")


def test_what_the_page_names_can_be_loaded(client: httpx.Client) -> None:
    """Style, script and picture, kept for ever because their addresses change with them."""
    page = read(client.get("/"))
    files = [each["src"] for each in page.all("script")]
    files += [each["href"] for each in page.all("link")]

    assert len(files) == 4
    for address in files:
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
        again = client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/_/static/none.css").status_code == 404


def test_it_says_what_a_technician_asks(site: Site, client: httpx.Client) -> None:
    """State, reasons, sizes, disk, syncs, certificate and version in one look."""
    site.facts = PRESSED
    text = read(client.get("/")).text

    for words in (
        "2 images missing",
        "plant7.example.com",
        "headquarters.azurecr.io",
        "line-4/vision:2.8.1",
        "could not be fetched: disk full",
        "1.0 GB free of 64.0 GB; 2.0 GB stay in reserve",
        "19.0 GB of 20.0 GB used",
        "Paused",
        "Expires in 74 days",
        "Connected registry 0.1.0",
        "10.7 GB in 30 days",
    ):
        assert words in text


def test_only_the_changing_part_is_sent_again_and_only_when_it_changed(
    site: Site, client: httpx.Client
) -> None:
    """204 otherwise: nothing moves, and a screen reader has nothing to repeat."""
    site.facts = COMPLETE
    [live] = [each for each in read(client.get("/")).all("div") if each.get("id") == "live"]
    assert client.get(live["hx-get"], headers=PART).status_code == 204
    site.facts = SYNCING
    part = client.get("/?seen=other", headers=PART)
    page = read(part)

    assert part.text.startswith('<div id="live"')
    assert not page.all("html")
    [faster] = [each for each in page.all("div") if each.get("id") == "live"]
    assert (live["hx-trigger"], faster["hx-trigger"]) == ("every 10s", "every 2s")
    assert faster["hx-get"] != live["hx-get"]


@pytest.mark.parametrize("facts", [PRESSED, SYNCING])
def test_text_from_outside_stays_text(site: Site, client: httpx.Client, facts: SiteFacts) -> None:
    """The elements are the same as without it."""
    site.facts = facts
    plain = Page(client.get("/").text)
    site.facts = hostile(facts)
    page = Page(client.get("/?seen=1&done=%3Cscript%3E").text)

    # The same, but for the trouble's own line where there was none.
    names = [tag for tag, _ in page.elements]
    assert names.count("script") == [tag for tag, _ in plain.elements].count("script")
    assert names.count("img") == [tag for tag, _ in plain.elements].count("img")
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
