"""Names of repositories, tags and images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.errors import DigestInvalid, NameInvalid, RegistryError, TagInvalid
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import (
    MAX_NAME,
    ImageName,
    RepositoryName,
    Tag,
    parse_reference,
)

COMPONENT = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
NAMES = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
DIGESTS = st.binary(max_size=8).map(Digest.of)


@given(NAMES)
def test_names_of_the_grammar_pass_unchanged(name: str) -> None:
    """Whatever the specification's grammar makes is taken as it is."""
    assert RepositoryName.parse(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Foo/Bar",
        "a/../b",
        "..",
        "./a",
        "a//b",
        "a/",
        "/a",
        "_catalog",
        "a/_oci/b",
        "a/.b",
        "a/-b",
        "a/b_",
        "a___b",
        "a..b",
        "a b",
        "a\x00",
        "a\n",
        "a\r\nb",
        "a\u200fb",
        "é",
        "١",
        "a:b",
        "a@b",
        "a%2fb",
        "a\\b",
        "a" * (MAX_NAME + 1),
        "a/" * 5000 + "a",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    """A name outside the grammar or the length raises, and its detail is bounded."""
    with pytest.raises(NameInvalid) as caught:
        RepositoryName.parse(name)
    assert len(caught.value.detail["name"]) <= MAX_NAME


@pytest.mark.parametrize("name", ["a---b", "a__b", "0", "blobs/uploads/manifests", "a" * MAX_NAME])
def test_unusual_names_are_taken(name: str) -> None:
    """Names that look odd but follow the grammar pass."""
    assert RepositoryName.parse(name) == name


@given(TAGS)
def test_tags_of_the_grammar_pass_unchanged(tag: str) -> None:
    """Whatever the specification's grammar makes is taken, upper case included."""
    assert Tag.parse(tag) == tag
    assert parse_reference(tag) == tag
    assert isinstance(parse_reference(tag), Tag)


@pytest.mark.parametrize("tag", ["", ".tag", "-tag", "a" * 129, "a/b", "a b", "a\n", "é", "a\x00"])
def test_other_tags_are_refused(tag: str) -> None:
    """A tag outside the grammar raises."""
    with pytest.raises(TagInvalid):
        Tag.parse(tag)


@given(DIGESTS)
def test_a_reference_with_a_colon_is_a_digest(digest: Digest) -> None:
    """A digest is recognised as one."""
    assert isinstance(parse_reference(str(digest)), Digest)


@pytest.mark.parametrize("text", ["sha256:baddigeststring", "a:b", ":"])
def test_a_bad_digest_is_not_taken_for_a_tag(text: str) -> None:
    """Text with a colon that is no digest raises as a digest, never as a tag."""
    with pytest.raises(DigestInvalid):
        parse_reference(text)


@given(NAMES, st.none() | TAGS, st.none() | DIGESTS)
def test_image_names_are_read_back_as_written(
    name: str, tag: str | None, digest: Digest | None
) -> None:
    """The text of an image name parses to the same name, and a digest decides where both are."""
    text = name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    image = ImageName.parse(text)
    assert ImageName.parse(str(image)) == image
    assert image.reference == (digest or tag or "latest")
    assert str(image) == (text if tag or digest else f"{name}:latest")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", NameInvalid),
        ("a:", TagInvalid),
        (":a", NameInvalid),
        ("a@", DigestInvalid),
        ("a:b@", DigestInvalid),
        ("a@sha256:1", DigestInvalid),
        ("a:b:c", TagInvalid),
        ("A:b", NameInvalid),
        ("a@b@c", DigestInvalid),
    ],
)
def test_malformed_image_names_name_the_wrong_part(text: str, error: type[Exception]) -> None:
    """The error tells which part is wrong."""
    with pytest.raises(error):
        ImageName.parse(text)


@given(st.text(max_size=50))
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Any text at all either parses or raises one of the registry's errors."""
    for parse in (RepositoryName.parse, Tag.parse, parse_reference, ImageName.parse):
        try:
            parse(text)
        except RegistryError as error:
            assert error.status == 400  # noqa: PT017 - either outcome is right
