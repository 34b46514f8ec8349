"""Rules that choose what is replicated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connected_registry.oci.digest import Digest
from connected_registry.oci.platform import Platform
from connected_registry.oci.signature import companion_tags
from connected_registry.policy.scope import RepositoryRule, Scope, choose_newest

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
TAGS = st.from_regex(r"(v?[0-9]{1,2}(\.[0-9]{1,2}){0,2}(-rc[0-9])?|[a-c]{1,3})", fullmatch=True)
LISTED = st.dictionaries(
    TAGS, st.none() | st.integers(0, 9).map(lambda day: EPOCH + timedelta(days=day)), max_size=12
).map(lambda found: list(found.items()))


def rule(**document: Any) -> RepositoryRule:
    """A rule as a twin has it."""
    return RepositoryRule.model_validate({"name": "team/app"} | document)


def scope(*names: str) -> Scope:
    """A scope of rules with these names."""
    return Scope.model_validate({"repositories": [{"name": name} for name in names]})


def test_a_rule_selects_everything_by_default() -> None:
    """A name alone means all its tags and platforms, referrers too."""
    plain = rule()
    assert plain.selects("anything")
    assert plain.referrers
    assert plain.wanted_platforms == ()
    assert not plain.is_pattern


@pytest.mark.parametrize(
    ("document", "tag", "reason"),
    [
        ({"tags": ["1.*", "latest"]}, "latest", None),
        ({"tags": ["1.*", "latest"]}, "1.36", None),
        ({"tags": ["1.*", "v?"]}, "2.0", "matches none of tags '1.*', 'v?' of rule 'team/app'"),
        ({"tags": ["[!a]*"]}, "b1", None),
        ({"tags": ["latest"]}, "Latest", "matches none of tags"),
        ({"tags": []}, "1", "matches none of tags"),
        ({"excludeTags": ["*-rc*"]}, "1-rc1", "excluded by excludeTags '*-rc*' of rule 'team/app'"),
        ({"excludeTags": ["x", "*-rc*"]}, "1", None),
        ({"semver": "^1.2"}, "1.3", None),
        ({"semver": "^1.2"}, "1.1", "is not in semver '^1.2' of rule 'team/app'"),
        ({"semver": "^1.2"}, "latest", "is no version, so not in semver '^1.2'"),
    ],
)
def test_the_reason_for_leaving_a_tag_out(
    document: dict[str, Any], tag: str, reason: str | None
) -> None:
    """A tag is selected, or the one sentence says which part of which rule leaves it out."""
    found = rule(**document).why_not(tag)
    assert rule(**document).selects(tag) is (reason is None)
    assert found == reason if reason is None else reason in str(found)


@given(LISTED, st.integers(1, 5), st.sampled_from([None, "*", ">=5", "1.x || 3.x"]))
def test_newest_keeps_a_part_of_what_matched(
    listed: list[tuple[str, datetime | None]], newest: int, semver: str | None
) -> None:
    """At most so many are kept, all of them selected, and they are the first of the whole order."""
    cut = choose_newest(rule(newest=newest, semver=semver), listed)
    whole = choose_newest(rule(semver=semver), listed)
    assert cut == whole[:newest]
    assert sorted(whole) == sorted(tag for tag, _ in listed if rule(semver=semver).selects(tag))


@given(LISTED, st.randoms())
def test_the_order_of_the_listing_does_not_matter(
    listed: list[tuple[str, datetime | None]], random: Any
) -> None:
    """The same tags are kept however the parent lists them."""
    shuffled = random.sample(listed, len(listed))
    assert choose_newest(rule(newest=3), listed) == choose_newest(rule(newest=3), shuffled)


def test_newest_goes_by_time() -> None:
    """Without a version range the time decides, and a tag without one is the oldest."""
    listed = [("9.0", None), ("1.0", EPOCH + timedelta(1)), ("2.0", EPOCH)]
    assert choose_newest(rule(), listed) == ["1.0", "2.0", "9.0"]


def test_newest_goes_by_version_where_a_range_is_given() -> None:
    """With a version range the version decides, so an old one pushed anew does not become new."""
    listed = [("1.9", EPOCH + timedelta(9)), ("v1.10.0", EPOCH), ("1.2", None), ("x", EPOCH)]
    assert choose_newest(rule(semver="*"), listed) == ["v1.10.0", "1.9", "1.2"]


def test_newest_goes_by_name_where_times_are_unknown() -> None:
    """Numbers in names are compared as numbers."""
    listed: list[tuple[str, datetime | None]] = [("b9", None), ("b10", None), ("a11", None)]
    assert choose_newest(rule(), listed) == ["b10", "b9", "a11"]


def test_signatures_do_not_count_as_new_images() -> None:
    """Tags that belong to another image take no place among the newest."""
    signatures = [(str(tag), EPOCH) for tag in companion_tags(Digest.of(b"x"))]
    listed = [*signatures, ("1.0", None)]
    assert choose_newest(rule(newest=1), listed) == ["1.0"]
    assert len(choose_newest(rule(), listed)) == 5


@pytest.mark.parametrize(
    ("document", "place", "sentence"),
    [
        ({}, "name", "Field required"),
        ({"name": "A"}, "name", "must be a repository name such as 'team/app'"),
        ({"name": 5}, "name", "valid string"),
        ({"name": "a", "tags": "latest"}, "tags", "must be an array"),
        ({"name": "a", "tags": ["a b"]}, "tags.0", "must be a tag or a glob of tags such as"),
        ({"name": "a", "excludeTags": [""]}, "excludeTags.0", "must be a tag or a glob"),
        ({"name": "a", "semver": "x.y"}, "semver", "must be a version range such as"),
        ({"name": "a", "newest": 0}, "newest", "greater than or equal to 1"),
        ({"name": "a", "newest": True}, "newest", "valid integer"),
        ({"name": "a", "platforms": ["arm"]}, "platforms.0", "must be a platform such as"),
        ({"name": "a", "referrers": "yes"}, "referrers", "valid boolean"),
        ({"name": "a", "priority": 1.5}, "priority", "valid integer"),
    ],
)
def test_a_wrong_rule_is_refused_by_key(
    document: dict[str, Any], place: str, sentence: str
) -> None:
    """The refusal names the key and says what would be right."""
    with pytest.raises(ValidationError) as caught:
        RepositoryRule.model_validate(document)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert sentence in error["msg"]


def test_platforms_are_kept_in_go_s_names() -> None:
    """Other names of an architecture come back as the usual one."""
    found = rule(platforms=["linux/aarch64", "Linux/ARM/v7"])
    assert found.platforms == ("linux/arm64", "linux/arm/v7")
    assert found.wanted_platforms[1] == Platform("linux", "arm", "v7")


@pytest.mark.parametrize(
    ("text", "name", "tags"),
    [
        ("team/app", "team/app", ("*",)),
        ("team/*", "team/*", ("*",)),
        ("team/app:1.0", "team/app", ("1.0",)),
        ("team/app:1.*,latest", "team/app", ("1.*", "latest")),
    ],
)
def test_rules_from_the_command_line(text: str, name: str, tags: tuple[str, ...]) -> None:
    """A name with tags after a colon makes a rule."""
    found = RepositoryRule.parse_argument(text)
    assert (found.name, found.tags) == (name, tags)


@pytest.mark.parametrize("text", ["", ":", "a:", "a:b,", "A", "a:b:c"])
def test_malformed_arguments_are_refused(text: str) -> None:
    """What is no name with tags is a `ValueError` like every other."""
    with pytest.raises(ValueError, match="must be a"):
        RepositoryRule.parse_argument(text)


def test_the_fingerprint_tells_rules_apart_that_select_differently() -> None:
    """Only what changes the selection changes the fingerprint; it is the same in every process."""
    base = rule(tags=["1.*"])
    assert base.fingerprint == rule(tags=["1.*"], priority=5, note="x").fingerprint
    others = [
        rule(tags=["1.*"], **more)
        for more in (
            {"excludeTags": ["x"]},
            {"semver": "1.x"},
            {"newest": 1},
            {"platforms": ["linux/amd64"]},
            {"referrers": False},
            {"name": "other"},
        )
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 7
    assert rule().fingerprint == "381f6e83115e38ef"


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("team/app", "team/app"),
        ("team/web/x", "team/web/*"),
        ("team/other", "team/*"),
        ("library/nginx", "*"),
    ],
)
def test_the_most_exact_rule_decides(repository: str, name: str) -> None:
    """A name beats the longest prefix, which beats the shorter ones and the star."""
    found = scope("*", "team/*", "team/web/*", "team/app").rule_for(repository)
    assert found is not None
    assert found.name == name


def test_what_no_rule_names_is_out_of_scope() -> None:
    """Without a rule there is nothing to replicate."""
    assert scope("team/*").rule_for("teams/app") is None
    assert Scope().rule_for("a") is None


def test_names_and_patterns_are_told_apart() -> None:
    """Exact names are known without the parent; patterns need its catalogue."""
    mixed = scope("b", "*", "a", "team/*")
    assert mixed.names == ("b", "a")
    assert [found.name for found in mixed.patterns] == ["team/*", "*"]


def test_one_name_has_one_rule() -> None:
    """A name listed twice is refused by name."""
    with pytest.raises(ValidationError, match="repository 'a' is listed twice; keep one rule"):
        scope("a", "b", "a")


def test_scopes_compare_by_value_after_use() -> None:
    """Looking things up does not change what a scope or a rule equals."""
    used, fresh = scope("a", "b/*"), scope("a", "b/*")
    used.rule_for("b/c")
    assert used == fresh
    assert hash(used) == hash(fresh)
