"""The status page in a real browser: looks, keyboard, refreshing, and attempts to break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connected_registry.endpoint.page.facts import SiteFacts
from endpoint.people import rules, token
from endpoint.serving import Site, serve
from endpoint.sites import ALL, COMPLETE, PRESSED, SYNCING, hostile
from peers.distribution import Distribution
from peers.images import make_image
from peers.proxy import CountingProxy
from system.browser import Browser
from system.conftest import ReplicaFactory
from system.replica import wait_until

pytestmark = pytest.mark.system

KIB = 1024


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the whole file."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Open to this machine."""
    with serve(tmp_path / "data") as site:
        yield site


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Site]:
    """Known to root, and to lea who may only look."""
    with serve(tmp_path / "data", rules(token("root", "all"), token("lea", "list"))) as site:
        site.facts = COMPLETE
        yield site


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (360, False)])
@pytest.mark.parametrize("name", list(ALL))
def test_every_state_can_be_read_by_everyone(
    site: Site, browser: Browser, name: str, width: int, dark: bool
) -> None:
    """axe finds nothing serious, nothing is wider than the screen, and nothing is complained of."""
    site.facts = ALL[name]
    browser.open(site.url, width=width, dark=dark)
    browser.shoot(f"{name}-{width}{'-dark' if dark else ''}")

    assert browser("axe") == []
    assert browser("overflow") <= 0
    assert browser("said") == []


@pytest.mark.parametrize("dark", [False, True])
def test_forms_can_be_read_by_everyone(guarded: Site, browser: Browser, dark: bool) -> None:
    """Signing in and confirming, at the width of a phone."""
    browser.open(guarded.url, width=360, dark=dark)
    findings = [browser("axe"), browser("overflow")]
    browser.shoot(f"sign-in{'-dark' if dark else ''}")
    browser("fill", selector="#name", value="root")
    browser("fill", selector="#password", value="root-secret")
    browser("press", key="Enter")
    browser("click", selector="#do-sync")
    browser("wait", selector="h1:has-text('Sync now?')")
    browser.shoot(f"confirm{'-dark' if dark else ''}")

    assert [*findings, browser("axe"), browser("overflow")] == [[], 0, [], 0]


def test_the_page_follows_the_site_by_itself(site: Site, browser: Browser) -> None:
    """Without a reload, and without taking the keyboard's place away."""
    site.facts = SYNCING
    browser.open(site.url)
    assert browser.text("h1") == "28 images missing"
    browser("press", key="Tab")
    assert browser("focused") == "skip"
    for _ in range(20):
        if browser("focused") == "do-pause":
            break
        browser("press", key="Tab")
    assert browser("focused") == "do-pause"
    site.facts = COMPLETE
    browser("wait", selector=".hero.good")

    assert browser.text("h1") == "Complete"
    assert browser("focused") == "do-pause"
    assert browser("said") == []


def test_a_page_that_can_no_longer_be_refreshed_says_so(tmp_path: Path, browser: Browser) -> None:
    """An old answer must not pass for a new one."""
    with serve(tmp_path / "data") as site:
        site.facts = SYNCING
        browser.open(site.url)
    browser("wait", selector="#stale:not([hidden])")

    assert "cannot reach the replica" in browser.text("#stale")


def test_everything_works_without_javascript(guarded: Site, browser: Browser) -> None:
    """Signing in with wrong and right words, looking, acting, signing out."""
    browser.open(guarded.url, javascript=False)
    browser("fill", selector="#name", value="root")
    browser("fill", selector="#password", value="wrong")
    browser("click", selector="button")
    assert browser.text("[role=alert]") == "No token has this name and password."
    browser("fill", selector="#password", value="root-secret")
    browser("click", selector="button")
    assert browser.text("h1") == "Complete"
    assert "does not refresh itself" in browser.text("main")
    browser("click", selector="#do-pause")
    assert browser.text("h1") == "Pause syncing?"
    assert guarded.calls == []
    browser("click", selector="button")
    assert browser.text("main > [role=status]") == "Syncing is paused."
    assert guarded.calls == ["pauseSync"]
    browser("click", selector=".person button")
    assert browser("url") == f"{guarded.url}/_/sign-in"


def test_who_may_only_look_gets_no_buttons_and_no_cookie_for_scripts(
    guarded: Site, browser: Browser
) -> None:
    """Signed in with JavaScript this time, by keyboard alone."""
    browser.open(guarded.url)
    assert browser("focused") == "name"
    browser("fill", selector="#name", value="lea")
    browser("press", key="Tab")
    browser("fill", selector="#password", value="lea-secret")
    browser("press", key="Enter")
    browser("wait", selector="#live")

    assert "Sync now" not in browser.text("main")
    assert browser("cookies") == ""


def test_a_session_that_is_withdrawn_ends_on_the_open_page(guarded: Site, browser: Browser) -> None:
    """The next refresh leads to the form."""
    guarded.facts = SYNCING
    browser.open(guarded.url)
    browser("fill", selector="#name", value="root")
    browser("fill", selector="#password", value="root-secret")
    browser("press", key="Enter")
    browser("wait", selector="#live")
    guarded.access.configure(rules(token("lea", "list")))
    browser("wait", selector="#password")

    assert browser("url") == f"{guarded.url}/_/sign-in"


@pytest.mark.parametrize("facts", [PRESSED, SYNCING])
def test_names_and_errors_cannot_run_anything(
    site: Site, browser: Browser, facts: SiteFacts
) -> None:
    """Markup in them is shown as it is, and stays in the page's width."""
    site.facts = hostile(facts)
    browser.open(f"{site.url}/?done=<script>alert(3)</script>", width=360)

    assert "<script>alert(1)</script>" in browser.text("header")
    assert browser("said") == []
    assert browser("overflow") <= 0


def test_a_real_sync_is_followed_to_its_end_and_beyond(
    distribution: Distribution, new_replica: ReplicaFactory, browser: Browser
) -> None:
    """First look, progress with a rate, complete, and honest when the parent is gone."""
    distribution.push(make_image("seen", size=2000 * KIB), "plant/app", "1.0")
    with CountingProxy("127.0.0.1", distribution.port) as link:
        link.rate_limit(200 * KIB)
        desired = {"scope": {"repositories": [{"name": "plant/app"}]}}
        replica = new_replica(desired, parent=link.address)
        browser.open(replica.url)
        browser("wait", selector="#progress[value]:not([value='0.0'])")
        assert browser.text("h1") == "1 image missing"
        assert "/s" in browser.text(".progress")
        browser.shoot("real-syncing")
        browser("wait", selector=".hero.good")
        browser.shoot("real-complete")
        assert browser.text("h1") == "Complete"
        assert "plant/app" in browser.text("main")
        browser("click", selector="#do-sync")
        browser("click", selector="button")
        assert browser.text("main > [role=status]") == "The sync has started."
    replica.command("sync", expect={0, 1, 3})
    wait_until("the parent is missed", lambda: replica.status()["parent"].get("offlineSince"))
    browser("wait", selector=".hero.warn")

    assert browser.text("h1").startswith("Complete as of ")
    assert browser("said") == []
