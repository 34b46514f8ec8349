"""Verdicts on changes that meet others at the parent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.parent.conflict import Verdict, conflict_tag, judge
from connected_registry.policy.sync import Conflicts
from connected_registry.storage.outgoing import Kind

OURS, OLD, THEIRS = (Digest.of(text) for text in (b"ours", b"old", b"theirs"))
DIGESTS = st.sampled_from([OURS, OLD, THEIRS])
MAYBE = st.none() | DIGESTS


@given(DIGESTS, MAYBE, MAYBE, st.sampled_from(Conflicts), st.sampled_from([Kind.PUSH, Kind.UNTAG]))
def test_there_is_a_conflict_only_where_the_parent_has_what_nobody_knew(
    ours: Digest, seen: Digest | None, there: Digest | None, rule: Conflicts, kind: Kind
) -> None:
    """What the parent was last seen to have, what was done here, and nothing, are no conflict."""
    unknown = there is not None and there not in (ours, seen)
    assert judge(kind, ours, seen, there, rule).is_conflict == unknown


@pytest.mark.parametrize(
    ("rule", "push", "untag"),
    [
        (Conflicts.PARENT, Verdict.YIELD, Verdict.YIELD),
        (Conflicts.SITE, Verdict.OVERRIDE, Verdict.OVERRIDE),
        (Conflicts.KEEP_BOTH, Verdict.APART, Verdict.YIELD),
    ],
)
def test_the_rule_decides(rule: Conflicts, push: Verdict, untag: Verdict) -> None:
    """For a push and for a tag taken away."""
    assert judge(Kind.PUSH, OURS, OLD, THEIRS, rule) is push
    assert judge(Kind.UNTAG, OURS, OLD, THEIRS, rule) is untag


@pytest.mark.parametrize(
    ("seen", "there", "push", "untag"),
    [
        (OLD, OLD, Verdict.CARRY, Verdict.CARRY),
        (OLD, None, Verdict.CARRY, Verdict.DONE),
        (None, None, Verdict.CARRY, Verdict.DONE),
        (OLD, OURS, Verdict.DONE, Verdict.CARRY),
    ],
)
def test_without_a_conflict_it_is_done_once(
    seen: Digest | None, there: Digest | None, push: Verdict, untag: Verdict
) -> None:
    """What the parent is already is not done again."""
    assert judge(Kind.PUSH, OURS, seen, there, Conflicts.PARENT) is push
    assert judge(Kind.UNTAG, OURS, seen, there, Conflicts.PARENT) is untag


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True), st.text(max_size=80))
def test_a_conflict_tag_is_a_tag_whatever_the_names(tag: str, site: str) -> None:
    """It fits the grammar and names the digest."""
    made = conflict_tag(Tag(tag), site, OURS)
    assert Tag.parse(made) == made
    assert made.endswith(OURS.encoded[:12])
