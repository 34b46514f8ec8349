"""Lists of tags, repositories and referrers: complete, or an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from connected_registry.errors import (
    ParentError,
    ParentFailed,
    ParentLied,
    ParentNotFound,
    ParentThrottled,
    ParentUnauthorized,
    ParentUnavailable,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from peers.clients import client_of
from peers.images import OCI_INDEX, make_artifact, make_image
from peers.scripted import HONEST, Recorded, Reply, ScriptedRegistry

APP = RepositoryName("team/app")
TAGS = "/v2/team/app/tags/list"
DETAILS = "/acr/v1/team/app/_tags"
NAMES = [f"1.{n}" for n in range(25)]


@pytest.fixture
def plain() -> Iterator[ScriptedRegistry]:
    """A registry with 25 tags, ten to a page."""
    with ScriptedRegistry(page=10) as registry:
        registry.hold(make_image(), APP, *NAMES)
        yield registry


@pytest.fixture
def azure() -> Iterator[ScriptedRegistry]:
    """The same with Azure's listing."""
    with ScriptedRegistry(acr=True, page=10) as registry:
        registry.hold(make_image(), APP, *NAMES)
        yield registry


async def names(registry: ScriptedRegistry, **limits: float) -> list[str]:
    """The names of the tags of APP."""
    async with client_of(registry, **limits) as client:
        return [tag.name for tag in (await client.list_tags(APP)).tags]


async def test_pages_are_followed_to_the_end(plain: ScriptedRegistry) -> None:
    """Every page's tags are in the listing."""
    assert sorted(await names(plain)) == sorted(NAMES)
    assert len(plain.asked(TAGS)) == 3


async def test_azures_listing_tells_digests_and_times(azure: ScriptedRegistry) -> None:
    """One listing gives everything; the plain one is not asked."""
    async with client_of(azure) as client:
        listing = await client.list_tags(APP)
    assert sorted(tag.name for tag in listing.tags) == sorted(NAMES)
    assert {tag.digest for tag in listing.tags} == {make_image().digest}
    assert {tag.updated for tag in listing.tags} == {
        datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    }
    assert azure.asked(TAGS) == []


async def test_what_a_parent_lacks_is_remembered(plain: ScriptedRegistry) -> None:
    """A parent without Azure's listing is asked for it once."""
    async with client_of(plain) as client:
        await client.list_tags(APP)
        await client.list_tags(APP)
    assert len(plain.asked(DETAILS)) == 1


@pytest.mark.parametrize(
    "answer", [Reply(404), Reply(405), Reply(200, {"Content-Type": "text/html"}, b"<html>")]
)
async def test_ways_in_which_a_parent_lacks_azures_listing(
    plain: ScriptedRegistry, answer: Reply
) -> None:
    """Not found, not allowed, and a web page where a listing should be."""
    plain.on(DETAILS, answer)
    assert len(await names(plain)) == 25


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_no_evidence(azure: ScriptedRegistry, status: int) -> None:
    """Where only Azure's listing is refused the plain one serves, and nothing is remembered."""
    azure.on(DETAILS, Reply(status), HONEST)
    async with client_of(azure) as client:
        assert {tag.digest for tag in (await client.list_tags(APP)).tags} == {None}
        assert {tag.digest for tag in (await client.list_tags(APP)).tags} != {None}


async def test_a_refusal_of_both_is_an_error(azure: ScriptedRegistry) -> None:
    """Without the right to list, the error says so."""
    azure.on(DETAILS, Reply(403))
    azure.on(TAGS, Reply(403))
    with pytest.raises(ParentUnauthorized):
        await names(azure)


@pytest.mark.parametrize(("status", "error"), [(500, ParentUnavailable), (429, ParentThrottled)])
async def test_a_fault_is_no_evidence(
    azure: ScriptedRegistry, status: int, error: type[ParentError]
) -> None:
    """A failing or throttled listing is an error, and not taken for an absent one."""
    azure.on(DETAILS, Reply(status), Reply(status), HONEST)
    async with client_of(azure, attempts=2) as client:
        with pytest.raises(error):
            await client.list_tags(APP)
        assert azure.asked(TAGS) == []
        assert (await client.list_tags(APP)).tags[0].digest is not None


async def test_an_absent_repository_is_no_evidence_either(azure: ScriptedRegistry) -> None:
    """A repository that is not there is not found, and the next listing is Azure's again."""
    async with client_of(azure) as client:
        with pytest.raises(ParentNotFound):
            await client.list_tags(RepositoryName("no/such"))
        assert (await client.list_tags(APP)).tags[0].digest is not None


async def test_a_fault_on_a_later_page_is_an_error(plain: ScriptedRegistry) -> None:
    """A listing of which a page is missing is never taken for a complete one."""
    plain.on(TAGS, HONEST, Reply(404))
    with pytest.raises(ParentNotFound):
        await names(plain)


async def test_invalid_and_repeated_names_are_left_out(plain: ScriptedRegistry) -> None:
    """Names that no tag can have are counted and skipped, doubles come once."""
    bad = ["", ".x", "a/b", "a b", "x" * 129, "ä", "a\n", None, 5, ["a"], {"name": "a"}]
    plain.on(TAGS, Reply.json({"name": APP, "tags": ["b", "a", "b", *bad, "a"]}))
    async with client_of(plain) as client:
        listing = await client.list_tags(APP)
    assert [tag.name for tag in listing.tags] == ["b", "a"]
    assert listing.skipped == len(bad)


async def test_a_repository_without_tags_is_empty(plain: ScriptedRegistry) -> None:
    """Null, as Distribution writes it, is no tags."""
    plain.on(TAGS, Reply.json({"name": APP, "tags": None}))
    assert await names(plain) == []


@pytest.mark.parametrize(
    "answer",
    [
        Reply(body=b""),
        Reply(body=b"<html>"),
        Reply(body=b"[" * 100_000),
        Reply(body=b'{"tags": "a"}'),
        Reply(body=b'{"tags": {}}'),
        Reply(body=b"[]"),
        Reply(body=b"\xff\xfe"),
        Reply(body=b'{"tags": ["a"' + b" " * 500),
        Reply(204),
    ],
)
async def test_what_is_no_listing_is_an_error(plain: ScriptedRegistry, answer: Reply) -> None:
    """An answer that does not hold a list of tags is never taken for an empty one."""
    plain.on(TAGS, answer)
    with pytest.raises(ParentFailed):
        await names(plain)


def linked(*targets: str) -> list[Reply]:
    """Pages of one tag each; each links to the next target, the last one to none."""
    pages = [
        Reply.json({"tags": [f"t{n}"]}, Link=f'<{target}>; rel="next"')
        for n, target in enumerate(targets)
    ]
    return [*pages, Reply.json({"tags": ["last"]})]


async def test_a_link_may_be_relative_or_absolute(plain: ScriptedRegistry) -> None:
    """Links are followed in every form that stays at the listing."""
    plain.on(TAGS, *linked("?last=1", f"{TAGS}?last=2", f"{plain.url}{TAGS}?last=3"))
    assert await names(plain) == ["t0", "t1", "t2", "last"]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2/v2/team/app/tags/list?last=1",
        "//storage.example/v2/team/app/tags/list?last=1",
        "https://{address}/v2/team/app/tags/list?last=1",
        "http://ada:lace@{address}/v2/team/app/tags/list?last=1",
        "/v2/team/other/tags/list?last=1",
        "/v2/team/app/../other/tags/list?last=1",
        "/v2/_catalog?last=1",
        "http://[::1",
    ],
)
async def test_a_link_that_leads_elsewhere_is_refused(plain: ScriptedRegistry, target: str) -> None:
    """Other hosts, schemes, users and paths are not followed and make the listing fail."""
    plain.on(TAGS, *linked(target.format(address=plain.address)))
    with pytest.raises(ParentFailed):
        await names(plain)
    assert len(plain.asked(TAGS)) == 1


async def test_a_link_loop_is_an_error(plain: ScriptedRegistry) -> None:
    """A listing that leads back to a page already seen ends, with an error."""
    plain.on(TAGS, *linked("?last=a", "?last=b", "?last=a", "?last=b"))
    with pytest.raises(ParentFailed, match="leads back"):
        await names(plain)


async def test_endless_pages_are_an_error(plain: ScriptedRegistry) -> None:
    """A listing that always links on ends at the limit, with an error."""

    def page(request: Recorded) -> Reply:
        last = int(request.query.get("last", ["0"])[0])
        return Reply.json({"tags": []}, Link=f'<?last={last + 1}>; rel="next"')

    plain.on(TAGS, page)
    with pytest.raises(ParentFailed, match="pages"):
        await names(plain, pages=5)
    assert len(plain.asked(TAGS)) == 5


async def test_too_many_tags_are_an_error(plain: ScriptedRegistry) -> None:
    """More names than the limit are an error rather than a listing cut short."""
    with pytest.raises(ParentFailed, match="more than 24"):
        await names(plain, names=24)


async def test_a_hundred_thousand_tags_in_one_page() -> None:
    """Distribution before version 3 sends all tags at once, however many they are."""
    with ScriptedRegistry() as registry:
        body = json.dumps({"tags": [f"build-{n}" for n in range(100_000)]}).encode()
        registry.on(TAGS, Reply(200, {}, body))
        assert len(await names(registry)) == 100_000


async def test_a_full_page_without_a_link_is_asked_behind() -> None:
    """Registries that leave the link out are asked once more behind the last name."""
    all_names = sorted(f"t{n:04}" for n in range(1500))

    def page(request: Recorded) -> Reply:
        last = request.query.get("last", [""])[0]
        return Reply.json({"tags": [name for name in all_names if name > last][:1000]})

    with ScriptedRegistry() as registry:
        registry.on(TAGS, page)
        assert await names(registry) == all_names


async def test_repositories_are_listed_over_pages() -> None:
    """The catalogue is followed to its end; names that are none are left out."""
    with ScriptedRegistry(page=2) as registry:
        for name in ["a", "b/c", "d", "Not/One", "e"]:
            registry.hold(make_image(), name, "latest")
        async with client_of(registry) as client:
            assert await client.list_repositories() == ["a", "b/c", "d", "e"]


async def test_compressed_listings_are_refused(plain: ScriptedRegistry) -> None:
    """A listing that comes compressed is not looked into."""
    plain.on(TAGS, Reply(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"))
    with pytest.raises(ParentLied):
        await names(plain)


SUBJECT = make_image()
REFERRERS = f"/v2/team/app/referrers/{SUBJECT.digest}"


async def test_referrers_are_listed() -> None:
    """What refers to an image comes as descriptors with their artifact type."""
    artifact = make_artifact(SUBJECT, annotations={"a": "b"})
    with ScriptedRegistry(referrers=True) as registry:
        registry.hold(SUBJECT, APP, "latest")
        registry.hold(artifact, APP)
        async with client_of(registry) as client:
            found = await client.list_referrers(APP, Digest(SUBJECT.digest))
    assert found is not None
    assert [(each.digest, each.artifact_type, each.annotations) for each in found] == [
        (artifact.digest, "application/vnd.example.sbom", {"a": "b"})
    ]


async def test_no_referrers_api_is_none_and_remembered(plain: ScriptedRegistry) -> None:
    """A parent without the API is asked once, and its answer differs from an empty list."""
    async with client_of(plain) as client:
        assert await client.list_referrers(APP, Digest(SUBJECT.digest)) is None
        assert await client.list_referrers(APP, Digest(make_image("b").digest)) is None
    assert len(plain.requests) == 1


async def test_no_referrers_is_an_empty_list() -> None:
    """An image to which nothing refers has an empty list."""
    with ScriptedRegistry(referrers=True) as registry:
        registry.hold(SUBJECT, APP, "latest")
        async with client_of(registry) as client:
            assert await client.list_referrers(APP, Digest(SUBJECT.digest)) == []


async def test_referrers_of_an_absent_repository(plain: ScriptedRegistry) -> None:
    """NAME_UNKNOWN means the repository and not the API."""
    plain.on(REFERRERS, Reply.error(404, "NAME_UNKNOWN"))
    async with client_of(plain) as client:
        with pytest.raises(ParentNotFound):
            await client.list_referrers(APP, Digest(SUBJECT.digest))


@pytest.mark.parametrize(
    "entry", [5, {}, {"mediaType": OCI_INDEX, "digest": "sha256:../../etc/passwd", "size": 1}]
)
async def test_bad_referrers_are_an_error(plain: ScriptedRegistry, entry: object) -> None:
    """An entry that is no descriptor makes the listing fail rather than be short."""
    plain.on(REFERRERS, Reply.json({"manifests": [entry]}))
    async with client_of(plain) as client:
        with pytest.raises(ParentFailed):
            await client.list_referrers(APP, Digest(SUBJECT.digest))
