"""Listings: order, paging and visibility, compared with plain sorted lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from connected_registry.errors import NameUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import Page
from storage.store import OTHER, REPOSITORY, Store, image, index, open_store

# Few letters and short names, so that names are often prefixes of others.
TAGS = st.lists(st.text("aAb0._-", min_size=1, max_size=4).filter(lambda t: t[0] not in ".-"))
NAMES = st.lists(st.from_regex(r"\A[ab0](?:[-./]?[ab0]){0,3}\Z"), unique=True, max_size=12)
LIMITS = st.none() | st.integers(0, 5)
FRESH = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples; each clears what it lists."""
    root: Path = tmp_path_factory.mktemp("listings")
    with open_store(root / "data") as opened:
        yield opened


def clear(store: Store) -> None:
    """Forget all repositories."""
    with store.database.write() as session:
        for table in ("tag", "manifest", "blob_link", "edge", "repository"):
            session.execute(text(f"DELETE FROM {table}"))
        session.execute(text("DELETE FROM tally WHERE repository_id <> 0"))


def expected(items: list[str], last: str | None, limit: int | None) -> Page[str]:
    """The page by the plainest means."""
    rest = [item for item in sorted(items) if last is None or item > last]
    if limit is None or len(rest) <= limit:
        return Page(tuple(rest))
    return Page(tuple(rest[:limit]), rest[limit - 1] if limit else None)


def walk(ask: Callable[[str | None], Page[str]]) -> list[str]:
    """All items, page by page."""
    found: list[str] = []
    last = None
    while True:
        page = ask(last)
        found += page.items
        if page.next is None:
            return found
        last = page.next


@FRESH
@given(TAGS, st.none() | st.text("aAb0._-", max_size=4), LIMITS)
def test_tags_are_paged_as_a_sorted_list(
    shared: Store, tags: list[str], last: str | None, limit: int | None
) -> None:
    """By bytes, ``last`` excluded and not necessarily a tag."""
    clear(shared)
    shared.push(image(), *tags)
    assert shared.registry.list_tags(REPOSITORY, last, limit) == expected(
        list(set(tags)), last, limit
    )
    details = shared.registry.tag_details(REPOSITORY, last, limit)
    assert Page(tuple(tag.name for tag in details.items), details.next) == expected(
        list(set(tags)), last, limit
    )
    if limit:
        assert walk(lambda last: shared.registry.list_tags(REPOSITORY, last, limit)) == sorted(
            set(tags)
        )


@FRESH
@given(NAMES, st.none() | st.text("ab0/.-", max_size=4), LIMITS, st.sets(st.sampled_from("ab0")))
def test_repositories_are_paged_over_what_is_visible(
    shared: Store, names: list[str], last: str | None, limit: int | None, starts: set[str]
) -> None:
    """Pages are full as long as visible ones remain, and say nothing of the others."""
    clear(shared)
    digest = shared.blobs.put(b"{}")
    for name in names:
        shared.registry.link_blob(RepositoryName(name), digest, 2)

    def visible(name: str) -> bool:
        return name[0] in starts

    wanted = [name for name in names if visible(name)]
    assert shared.registry.list_repositories(last, limit, visible) == expected(wanted, last, limit)
    rows = shared.registry.repository_statistics(last, limit)
    assert Page(tuple(row.name for row in rows.items), rows.next) == expected(names, last, limit)


def test_visible_repositories_behind_many_hidden_ones_are_found(store: Store) -> None:
    """Further than one read of the database reaches."""
    with store.database.write() as session:
        session.execute(
            text("INSERT INTO repository (name, created_at) VALUES (:name, 0)"),
            [{"name": f"r{number:05}"} for number in range(2500)],
        )
    page = store.registry.list_repositories(None, 1, lambda name: name in {"r00003", "r02400"})
    assert page == Page(("r00003",), "r00003")
    page = store.registry.list_repositories("r00003", 1, lambda name: name == "r02400")
    assert page == Page(("r02400",))


def test_unknown_repositories_have_no_tags(store: Store) -> None:
    """Nor details."""
    for ask in (
        store.registry.list_tags,
        store.registry.tag_details,
        store.registry.manifest_details,
    ):
        with pytest.raises(NameUnknown):
            ask(OTHER)


def test_referrers_are_described_as_the_specification_says(store: Store) -> None:
    """Type, size, digest, artifact type with its fallback, and all annotations."""
    subject = image(b"subject")
    plain = image(subject=subject.descriptor(), annotations={"a": "1", "b": ""})
    typed = image(subject=subject.descriptor(), artifactType="application/sbom")
    nested = index(subject=subject.descriptor())
    for each in (plain, typed, nested):
        store.push(each)
    store.push(image(b"unrelated"))
    found = {
        item["digest"]: item for item in store.registry.list_referrers(REPOSITORY, subject.digest)
    }
    assert found == {
        plain.digest: plain.descriptor(
            artifactType="application/vnd.oci.image.config.v1+json",
            annotations={"a": "1", "b": ""},
        ),
        typed.digest: typed.descriptor(artifactType="application/sbom"),
        nested.digest: nested.descriptor(),
    }


def test_referrers_can_be_filtered_by_type(store: Store) -> None:
    """Exactly; an empty filter matches nothing that has a type."""
    subject = image(b"subject")
    typed = image(subject=subject.descriptor(), artifactType="application/sbom")
    store.push(typed)
    store.push(image(subject=subject.descriptor()))

    def digests(artifact_type: str) -> list[str]:
        found = store.registry.list_referrers(REPOSITORY, subject.digest, artifact_type)
        return [item["digest"] for item in found]

    assert digests("application/sbom") == [typed.digest]
    assert digests("application/SBOM") == digests("") == []


def test_referrers_are_those_of_the_same_repository(store: Store) -> None:
    """And none where the repository or the subject is unknown."""
    subject = image(b"subject")
    store.push(image(subject=subject.descriptor()))
    assert store.registry.list_referrers(OTHER, subject.digest) == []
    assert store.registry.list_referrers(REPOSITORY, Digest.of(b"x")) == []


def test_a_deleted_referrer_is_no_longer_listed(store: Store) -> None:
    """Its subject stays as it was."""
    subject = image(b"subject")
    store.push(subject, "v1")
    gone = store.push(image(subject=subject.descriptor()))
    store.registry.delete_manifest(REPOSITORY, gone)
    assert store.registry.list_referrers(REPOSITORY, subject.digest) == []
    assert store.registry.resolve(REPOSITORY, Tag("v1")).digest == subject.digest


def test_manifests_are_listed_with_tags_and_sizes(store: Store) -> None:
    """The size of an image is its manifest's and that of all it directly names."""
    first, second = image(b"12345", config=b"{}"), image(b"1")
    store.push(first, "b", "a")
    store.push(second)
    page = store.registry.manifest_details(REPOSITORY)
    found = {item.digest: item for item in page.items}
    assert [item.digest for item in page.items] == sorted([first.digest, second.digest])
    assert found[first.digest].tags == ("a", "b")
    assert found[second.digest].tags == ()
    assert found[first.digest].image_size == len(first.content) + 5 + 2
    assert found[first.digest].size == len(first.content)
    assert store.registry.manifest_details(REPOSITORY, None, 1).next == page.items[0].digest
