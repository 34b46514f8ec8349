"""Which tags a rule wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.parent.selection import candidates, choose, companions, needs_dates
from connected_registry.policy.scope import RepositoryRule

DIGEST = Digest.of(b"image")
FALLBACK = Tag(f"sha256-{DIGEST.encoded}")
SIGNATURE = Tag(f"{FALLBACK}.sig")
START = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_star_does_not_mean_signatures_without_an_image() -> None:
    """Only a glob that names them on purpose selects companion tags for themselves."""
    tags = [Tag("1.0"), FALLBACK, SIGNATURE]
    assert candidates(RepositoryRule(name="a"), tags) == ("1.0",)
    assert candidates(RepositoryRule(name="a", tags=("sha256-*",)), tags) == (FALLBACK, SIGNATURE)
    assert candidates(RepositoryRule(name="a", tags=("*", "*.sig")), tags) == ("1.0", SIGNATURE)


def test_companions_are_known_from_the_list() -> None:
    """The fallback index first, then cosign's, and none that is not listed."""
    assert companions(DIGEST, {SIGNATURE, FALLBACK, Tag("1.0")}) == (FALLBACK, SIGNATURE)
    assert companions(Digest.of(b"other"), {SIGNATURE}) == ()


def test_versions_need_no_dates() -> None:
    """Only ``newest`` without a version range does."""
    assert needs_dates(RepositoryRule(name="a", newest=1))
    assert not needs_dates(RepositoryRule(name="a", newest=1, semver=">=1"))
    assert not needs_dates(RepositoryRule(name="a"))


@given(
    ages=st.lists(st.one_of(st.none(), st.integers(0, 10_000)), max_size=12),
    newest=st.integers(1, 12),
)
def test_no_dropped_tag_is_newer_than_a_chosen_one(ages: list[int | None], newest: int) -> None:
    """The choice splits the candidates, keeps so many, and keeps the newest."""
    dates = {
        Tag(f"t{n}"): None if age is None else START + timedelta(seconds=age)
        for n, age in enumerate(ages)
    }
    choice = choose(RepositoryRule(name="a", newest=newest), list(dates), dates)
    assert len(choice.chosen) == min(newest, len(dates))
    assert sorted((*choice.chosen, *choice.dropped)) == sorted(dates)
    oldest = min(
        (dates[tag] or datetime.min.replace(tzinfo=UTC) for tag in choice.chosen), default=None
    )
    for tag in choice.dropped:
        assert oldest is not None
        assert (dates[tag] or datetime.min.replace(tzinfo=UTC)) <= oldest
