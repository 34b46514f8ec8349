"""Patterns of the changes that are told upwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.digest import Digest
from connected_registry.policy.notification import NotificationPattern, check_notification

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("pattern", "tag", "digest", "action", "told"),
    [
        ("*:*", "1.0", DIGEST, "push", True),
        ("*:push", None, DIGEST, "delete", False),
        ("team/app:*", "1.0", DIGEST, "delete", True),
        ("team/*:push", "1.0", DIGEST, "push", True),
        ("other/*:push", "1.0", DIGEST, "push", False),
        ("*:*:*", "1.0", DIGEST, "push", True),
        ("*:*:*", None, DIGEST, "push", False),
        ("*@*:*", None, DIGEST, "push", True),
        ("*@*:*", "1.0", None, "push", False),
        ("team/app:1.0:push", "1.0", DIGEST, "push", True),
        ("team/app:1.0:push", "2.0", DIGEST, "push", False),
        (f"team/app@{DIGEST}:delete", None, DIGEST, "delete", True),
        (f"team/app@{DIGEST}:delete", None, Digest.of(b"y"), "delete", False),
        (f"team/app:1.0@{DIGEST}:*", "1.0", DIGEST, "push", True),
        (f"team/app:1.0@{DIGEST}:*", None, DIGEST, "push", False),
        ("team/app:push:delete", "push", DIGEST, "delete", True),
    ],
)
def test_patterns_of_the_original(
    pattern: str, tag: str | None, digest: str | None, action: str, told: bool
) -> None:
    """A part that is given must match, a star needs one to be there, and no part asks nothing."""
    assert check_notification(pattern) == pattern
    assert NotificationPattern.parse(pattern).matches("team/app", tag, digest, action) is told


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "*",
        "team/app",
        "team/app:pull",
        "team/app:",
        ":push",
        "Team:push",
        "team/app:a b:push",
        "team/app@sha256:1:push",
        "team/app@:push",
        "team/app:1:2:push",
        "team/app:*:push\n",
    ],
)
def test_other_patterns_are_refused(pattern: str) -> None:
    """What is no pattern is refused with examples."""
    with pytest.raises(ValueError, match="must be a pattern such as 'team/app:push'"):
        check_notification(pattern)


@given(st.text(st.sampled_from("a:@*/push. "), max_size=20))
def test_no_text_breaks_the_parser(pattern: str) -> None:
    """Any text is a pattern or refused."""
    try:
        assert check_notification(pattern) == pattern
    except ValueError as error:
        assert "must be a pattern" in str(error)  # noqa: PT017 - either outcome is right
