"""Platforms and what matches what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.platform import Platform

TEXTS = st.from_regex(r"[a-z]{1,8}/[a-z0-9]{1,8}(/v[0-9])?", fullmatch=True)


@given(TEXTS)
def test_platforms_are_read_back_as_written(text: str) -> None:
    """The text of a platform parses to an equal platform, which matches itself."""
    platform = Platform.parse(text)
    assert Platform.parse(str(platform)) == platform
    assert platform.matches(platform)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AArch64", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
    ],
)
def test_other_names_of_an_architecture_are_understood(text: str, name: str) -> None:
    """What people and kernels call an architecture becomes Go's name for it."""
    assert str(Platform.parse(text)) == name


@pytest.mark.parametrize(
    "text",
    ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd64/", "linux amd64", "l/\x00", "a/*"],
)
def test_other_texts_are_no_platform(text: str) -> None:
    """Text of another form raises a sentence with an example."""
    with pytest.raises(ValueError, match="such as 'linux/amd64'"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("image", "wanted", "matches"),
    [
        ("linux/arm64", "linux/arm64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v9", "linux/arm64", False),
        ("linux/arm/v7", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm", "linux/arm/v6", False),
        ("linux/arm/v5", "linux/arm", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64/v1", "linux/amd64", True),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/amd64/v3", "linux/amd64/v3", True),
        ("linux/ppc64le/power9", "linux/ppc64le", True),
        ("windows/amd64", "linux/amd64", False),
        ("linux/386", "linux/amd64", False),
    ],
)
def test_variants_match_as_machines_run_them(image: str, wanted: str, matches: bool) -> None:
    """No variant means the usual one, and another one is not what was asked for."""
    assert Platform.parse(image).matches(Platform.parse(wanted)) is matches
