"""Manifests: what an image, an index or an artifact is made of, read from its exact bytes.

OCI image specification, "Image Manifest" and "Image Index", and Docker's forms of both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from connected_registry.errors import ManifestInvalid, ManifestTooLarge
from connected_registry.oci import media_type as types
from connected_registry.oci.descriptor import (
    Descriptor,
    parse_annotations,
    parse_descriptor,
    parse_text,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.document import parse_object
from connected_registry.oci.platform import Platform

__all__ = [
    "MAX_DESCRIPTORS",
    "MAX_MANIFEST",
    "Descriptor",
    "Kind",
    "Manifest",
    "Platform",
    "select_children",
]

MAX_MANIFEST: Final = 4 * 2**20
"""Largest manifest taken, in bytes: what the specification says everyone should handle."""

MAX_DESCRIPTORS: Final = 8192
"""Most layers of an image or entries of an index."""

CREATED: Final = "org.opencontainers.image.created"


class Kind(StrEnum):
    """What a manifest is to a registry."""

    IMAGE = "image"
    INDEX = "index"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest beside the bytes it was parsed from, which alone are stored and served."""

    content: bytes = field(repr=False)
    media_type: str
    digest: Digest
    kind: Kind
    children: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict, repr=False, hash=False)

    @classmethod
    def parse(cls, content: bytes, media_type: str) -> Self:
        """Raise `ManifestInvalid` or `ManifestTooLarge` with a sentence for what cannot be taken.

        ``media_type`` is a Content-Type header; parameters are ignored. Where it is empty or
        general, as plain JSON is, the document's own ``mediaType`` counts, or its shape. Unknown
        types are taken as `Kind.OTHER`: any JSON object, of which nothing else is known.
        """
        if len(content) > MAX_MANIFEST:
            raise ManifestTooLarge(f"the manifest is larger than {MAX_MANIFEST} bytes")
        given = _check_type(media_type) if media_type else ""
        if given in types.GENERAL:
            given = ""
        document = parse_object(content)
        if _has(document, "manifests") and (_has(document, "layers") or _has(document, "config")):
            raise ManifestInvalid("the manifest is both an index and an image; it can be only one")
        own = parse_text(document.get("mediaType"), "mediaType")
        if own and given and own.lower() != given:
            raise ManifestInvalid(f"mediaType is {own!r} but the manifest was sent as {given!r}")
        actual = given or (_check_type(own) if own else _guess(document))
        return cls(
            content=content,
            media_type=actual,
            digest=Digest.of(content),
            **_parts(document, actual),
        )

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content)

    @property
    def referenced(self) -> tuple[Descriptor, ...]:
        """Config and layers, every digest once, foreign ones included."""
        every = ((self.config,) if self.config is not None else ()) + self.layers
        return tuple({descriptor.digest: descriptor for descriptor in every}.values())

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What a registry must hold the bytes of: neither foreign nor embedded here."""
        return tuple(d for d in self.referenced if not d.foreign and d.data is None)

    @property
    def embedded(self) -> tuple[Descriptor, ...]:
        """What carries its content within, which clients may still ask for as a blob."""
        return tuple(d for d in self.referenced if d.data is not None)

    @property
    def foreign(self) -> tuple[Descriptor, ...]:
        """Non-distributable layers: good to have where the parent has them, never required."""
        return tuple(d for d in self.referenced if d.foreign and d.data is None)

    @property
    def created(self) -> datetime | None:
        """When it was made, as its annotation says; None where it does not say so properly."""
        try:
            created = datetime.fromisoformat(self.annotations.get(CREATED, ""))
            return created.astimezone(UTC) if created.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None


def select_children(manifest: Manifest, platforms: Collection[Platform]) -> tuple[Descriptor, ...]:
    """The entries of an index to replicate for ``platforms``; none given means all.

    Entries without a platform are always taken. Attestations go with the image they attest, and
    where they attest none of this index they are taken too.
    """
    if not platforms:
        return manifest.children
    images = [child for child in manifest.children if child.attestation_for is None]
    kept = {child.digest for child in images if _runs_on(child, platforms)}
    dropped = {child.digest for child in images} - kept
    return tuple(
        child
        for child in manifest.children
        if (child.attestation_for or child.digest) not in dropped
    )


def _runs_on(child: Descriptor, platforms: Collection[Platform]) -> bool:
    """Whether it is for one of ``platforms``, or for none in particular."""
    platform = child.platform
    return (
        platform is None
        or platform.os == "unknown"
        or any(platform.matches(wanted) for wanted in platforms)
    )


def _check_type(text: str) -> str:
    media_type = types.parse_media_type(text)
    if media_type is None or not media_type.startswith("application/"):
        raise ManifestInvalid(f"{text[:100]!r} is not a media type of a manifest")
    if media_type in types.SCHEMA1:
        raise ManifestInvalid("Docker schema 1 manifests are not supported; push the image anew")
    return media_type


def _guess(document: dict[str, Any]) -> str:
    if document.get("schemaVersion") == 2 and "manifests" in document:
        return types.OCI_INDEX
    if document.get("schemaVersion") == 2 and "config" in document and "layers" in document:
        return types.OCI_MANIFEST
    raise ManifestInvalid(
        "the manifest says nowhere what it is: neither Content-Type nor mediaType"
    )


def _has(document: dict[str, Any], key: str) -> bool:
    return document.get(key) is not None


def _parts(document: dict[str, Any], media_type: str) -> dict[str, Any]:
    if media_type in types.IMAGES:
        return _image(document)
    if media_type in types.INDEXES:
        return _index(document)
    if media_type in types.ARTIFACTS:
        return {"kind": Kind.OTHER, "layers": _descriptors(document, "blobs"), **_common(document)}
    return {"kind": Kind.OTHER}


def _image(document: dict[str, Any]) -> dict[str, Any]:
    _check_version(document)
    if not _has(document, "config"):
        raise ManifestInvalid("config is missing")
    if "layers" not in document:
        raise ManifestInvalid("layers is missing")
    config = parse_descriptor(document["config"], "config")
    parts = _common(document)
    return {
        **parts,
        "kind": Kind.IMAGE,
        "config": config,
        "layers": _descriptors(document, "layers"),
        "artifact_type": parts["artifact_type"] or config.media_type,
    }


def _index(document: dict[str, Any]) -> dict[str, Any]:
    _check_version(document)
    if "manifests" not in document:
        raise ManifestInvalid("manifests is missing")
    return {
        **_common(document),
        "kind": Kind.INDEX,
        "children": _descriptors(document, "manifests"),
    }


def _common(document: dict[str, Any]) -> dict[str, Any]:
    subject = document.get("subject")
    return {
        "subject": None if subject is None else parse_descriptor(subject, "subject"),
        "artifact_type": parse_text(document.get("artifactType"), "artifactType") or None,
        "annotations": parse_annotations(document.get("annotations"), "annotations"),
    }


def _check_version(document: dict[str, Any]) -> None:
    version = document.get("schemaVersion")
    if version != 2 or isinstance(version, float):
        raise ManifestInvalid(f"schemaVersion is {version!r}; it must be 2")


def _descriptors(document: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    values = document.get(key)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise ManifestInvalid(f"{key} is not an array")
    if len(values) > MAX_DESCRIPTORS:
        raise ManifestInvalid(f"{key} has {len(values)} entries; the most is {MAX_DESCRIPTORS}")
    return tuple(parse_descriptor(value, f"{key}[{i}]") for i, value in enumerate(values))
