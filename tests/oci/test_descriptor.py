"""Descriptors beyond what the tests of manifests cover."""

from __future__ import annotations

import pytest

from connected_registry.oci.descriptor import Descriptor, parse_descriptor
from connected_registry.oci.digest import Digest
from connected_registry.oci.media_type import OCI_MANIFEST

IMAGE = Digest.of(b"image")
BASE = {"mediaType": OCI_MANIFEST, "digest": Digest.of(b"attestation"), "size": 1}


def described(**more: object) -> Descriptor:
    """A descriptor with more keys."""
    return parse_descriptor(BASE | more, "manifests[0]")


@pytest.mark.parametrize(
    ("kind", "subject", "expected"),
    [
        ("attestation-manifest", IMAGE, IMAGE),
        ("something-else", IMAGE, None),
        ("attestation-manifest", "garbage", None),
        ("attestation-manifest", None, None),
        (None, IMAGE, None),
    ],
)
def test_attestations_name_their_image(
    kind: str | None, subject: str | None, expected: Digest | None
) -> None:
    """Only BuildKit's mark together with a digest makes an attestation."""
    marks = {"vnd.docker.reference.type": kind, "vnd.docker.reference.digest": subject}
    annotations = {key: value for key, value in marks.items() if value is not None}
    assert described(annotations=annotations).attestation_for == expected


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"os": "windows", "architecture": "amd64", "os.version": "10.0.17763"}, "windows/amd64"),
        ({"os": "linux", "architecture": "arm64", "variant": ""}, "linux/arm64"),
        ({"os": "linux", "architecture": None}, "None"),
        ({"os": "Plan 9", "architecture": "amd64"}, "None"),
        ({}, "None"),
        (None, "None"),
    ],
)
def test_platforms_are_read_where_they_are_one(platform: object, expected: str) -> None:
    """An unknown operating system or an incomplete platform is none, not an error."""
    assert str(described(platform=platform).platform) == expected


def test_equal_descriptors_are_equal_and_hash_alike() -> None:
    """Descriptors are values."""
    assert {described(annotations={"a": "b"}), described(annotations={"a": "b"})} == {
        described(annotations={"a": "b"})
    }
