"""Media types that a registry must tell apart, and the one way to read them from a header."""

from __future__ import annotations

import re
from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
ORAS_ARTIFACT: Final = "application/vnd.cncf.oras.artifact.manifest.v1+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"

IMAGES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
ARTIFACTS: Final = frozenset({OCI_ARTIFACT, ORAS_ARTIFACT})
"""Withdrawn forms that registries still hold: a list of ``blobs``, no config."""

SCHEMA1: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
"""Docker's first form, which no current client reads."""

GENERAL: Final = frozenset({"application/json", "application/octet-stream"})
"""Types that say nothing of a manifest's form, sent by plain file servers."""

MANIFESTS: Final = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
"""What to ask a parent for, in order of preference."""

_PART = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_PART}/{_PART}")


def parse_media_type(header: str) -> str | None:
    """The type without parameters, in lower case; None for what is not one (RFC 6838, 4.2)."""
    essence = header.partition(";")[0].strip(" \t")
    return essence.lower() if _MEDIA_TYPE.fullmatch(essence) else None


def is_foreign(media_type: str) -> bool:
    """Whether this is a layer that registries need not hold and may not hand on."""
    return media_type.startswith(
        (
            "application/vnd.oci.image.layer.nondistributable.",
            "application/vnd.docker.image.rootfs.foreign.",
        )
    )
