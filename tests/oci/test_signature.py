"""Tags that carry signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.oci.signature import (
    companion_tags,
    fallback_tag,
    is_companion_tag,
    subject_of_tag,
)


@given(st.binary(max_size=20))
def test_the_tags_of_a_digest_lead_back_to_it(content: bytes) -> None:
    """Every companion tag is a proper tag that names its subject."""
    digest = Digest.of(content)
    tags = companion_tags(digest)
    assert tags[0] == fallback_tag(digest) == f"sha256-{digest.encoded}"
    assert [tag.removeprefix(tags[0]) for tag in tags] == ["", ".sig", ".att", ".sbom"]
    for tag in tags:
        assert Tag.parse(tag) == tag
        assert is_companion_tag(tag)
        assert subject_of_tag(tag) == digest


@given(st.binary(max_size=20))
def test_a_long_digest_is_cut(content: bytes) -> None:
    """A sha512 digest's tag has 64 characters of it: known as a companion, but not whose."""
    digest = Digest.of(content, "sha512")
    tag = fallback_tag(digest)
    assert tag == f"sha512-{digest.encoded[:64]}"
    assert is_companion_tag(tag)
    assert subject_of_tag(tag) is None


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "latest",
        "sha256-" + "0" * 63,
        "sha256-" + "0" * 65,
        "sha256-" + "A" * 64,
        "sha256-" + "0" * 64 + ".txt",
        "sha256-" + "0" * 64 + ".sig\n",
        "xsha256-" + "0" * 64,
    ],
)
def test_ordinary_tags_belong_to_no_one(tag: str) -> None:
    """Only the exact form counts."""
    assert not is_companion_tag(tag)
    assert subject_of_tag(tag) is None
