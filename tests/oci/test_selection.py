"""Which entries of an index are replicated for a choice of platforms."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest, select_children
from connected_registry.oci.media_type import OCI_INDEX, OCI_MANIFEST
from connected_registry.oci.platform import Platform


def entry(name: str, platform: str | None = None, attests: str | None = None) -> dict[str, Any]:
    """An index entry whose digest is that of its name."""
    found: dict[str, Any] = {
        "mediaType": OCI_MANIFEST,
        "digest": Digest.of(name.encode()),
        "size": 1,
        "annotations": {"name": name},
    }
    if platform is not None:
        parts = zip(("os", "architecture", "variant"), platform.split("/"), strict=False)
        found["platform"] = dict(parts)
    if attests is not None:
        found["annotations"] |= {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": Digest.of(attests.encode()),
        }
    return found


def index(*entries: dict[str, Any]) -> Manifest:
    """An index of ``entries``."""
    document = {"schemaVersion": 2, "manifests": entries}
    return Manifest.parse(json.dumps(document).encode(), OCI_INDEX)


def names(manifest: Manifest, *platforms: str) -> list[str]:
    """The names of what is selected."""
    selected = select_children(manifest, tuple(map(Platform.parse, platforms)))
    return [child.annotations["name"] for child in selected]


BUILT = index(
    entry("amd64", "linux/amd64"),
    entry("arm64", "linux/arm64/v8"),
    entry("armv7", "linux/arm/v7"),
    entry("armv6", "linux/arm/v6"),
    entry("proof of amd64", "unknown/unknown", attests="amd64"),
    entry("proof of arm64", "unknown/unknown", attests="arm64"),
    entry("proof of another", "unknown/unknown", attests="elsewhere"),
    entry("nested"),
    entry("signature", "unknown/unknown"),
)
ALWAYS = ["proof of another", "nested", "signature"]


def test_no_platforms_mean_all() -> None:
    """Without a choice everything is selected."""
    assert len(names(BUILT)) == 9


def test_attestations_go_with_their_image() -> None:
    """A platform brings its image, that image's attestation and what belongs to no platform."""
    assert names(BUILT, "linux/amd64") == ["amd64", "proof of amd64", *ALWAYS]
    assert names(BUILT, "linux/arm64") == ["arm64", "proof of arm64", *ALWAYS]


def test_several_platforms_add_up() -> None:
    """Each platform asked for is there, in the order of the index."""
    assert names(BUILT, "linux/arm/v7", "linux/amd64") == [
        "amd64",
        "armv7",
        "proof of amd64",
        *ALWAYS,
    ]


def test_a_platform_nobody_built_leaves_what_has_none() -> None:
    """Nothing matches, and what belongs to no platform is still selected."""
    assert names(BUILT, "windows/amd64") == ALWAYS


def test_one_image_for_two_platforms_is_selected_for_either() -> None:
    """An image listed once for each of two platforms is not dropped for the other one."""
    both = index(entry("same", "linux/arm64"), entry("same", "linux/amd64"))
    assert names(both, "linux/amd64") == ["same", "same"]


@given(
    st.lists(
        st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v6", "windows/amd64"]),
        unique=True,
        min_size=1,
    )
)
def test_more_platforms_never_select_less(platforms: list[str]) -> None:
    """Selection grows with the platforms and is part of the whole."""
    fewer = set(names(BUILT, *platforms[:-1])) if len(platforms) > 1 else set()
    assert fewer <= set(names(BUILT, *platforms)) <= set(names(BUILT))
