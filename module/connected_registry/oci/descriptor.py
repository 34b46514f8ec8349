"""Descriptors: what a manifest says of other content. OCI image specification, "Descriptor"."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Final

from connected_registry.errors import DigestInvalid, ManifestInvalid
from connected_registry.oci.digest import Digest
from connected_registry.oci.media_type import is_foreign
from connected_registry.oci.platform import Platform

MAX_SIZE: Final = 2**63 - 1
MAX_MEDIA_TYPE: Final = 255

_ATTESTATION_TYPE = "vnd.docker.reference.type"
_ATTESTATION_SUBJECT = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor; ``data`` is the content itself where it is embedded and right."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str | None = None
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    data: bytes | None = field(default=None, repr=False)

    @property
    def foreign(self) -> bool:
        """Whether a registry need not hold it: a non-distributable layer."""
        return is_foreign(self.media_type)

    @property
    def attestation_for(self) -> Digest | None:
        """The sibling in the index that this one attests, as BuildKit marks it."""
        if self.annotations.get(_ATTESTATION_TYPE) != "attestation-manifest":
            return None
        try:
            return Digest.parse(self.annotations.get(_ATTESTATION_SUBJECT, ""))
        except DigestInvalid:
            return None


def parse_descriptor(value: Any, where: str) -> Descriptor:
    """The descriptor in ``value``; ``where`` names its place, such as ``layers[3]``.

    Raises `ManifestInvalid`. Addresses in ``urls`` are kept as text and followed by no one.
    """
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} is not an object")
    media_type = parse_text(value.get("mediaType"), f"{where}.mediaType")
    if not media_type:
        raise ManifestInvalid(f"{where}.mediaType is missing")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        raise ManifestInvalid(f"{where}.size is not a whole number from 0 to {MAX_SIZE}")
    digest = _parse_digest(value.get("digest"), f"{where}.digest")
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        annotations=parse_annotations(value.get("annotations"), f"{where}.annotations"),
        artifact_type=parse_text(value.get("artifactType"), f"{where}.artifactType") or None,
        platform=_parse_platform(value.get("platform"), f"{where}.platform"),
        urls=_parse_urls(value.get("urls"), f"{where}.urls"),
        data=_parse_data(value.get("data"), f"{where}.data", digest, size),
    )


def parse_text(value: Any, where: str) -> str:
    """A media type or the like: printable ASCII of bounded length; empty where absent."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ManifestInvalid(f"{where} is not a string")
    if len(value) > MAX_MEDIA_TYPE or not (value.isascii() and value.isprintable()):
        raise ManifestInvalid(
            f"{where} is not printable ASCII of at most {MAX_MEDIA_TYPE} characters"
        )
    return value


def parse_annotations(value: Any, where: str) -> dict[str, str]:
    """A map of strings; empty where absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} is not an object")
    for key, text in value.items():
        if not isinstance(text, str):
            raise ManifestInvalid(f"{where}[{key[:100]!r}] is not a string")
    return value


def _parse_digest(value: Any, where: str) -> Digest:
    if not isinstance(value, str):
        raise ManifestInvalid(f"{where} is missing or not a string")
    try:
        return Digest.parse(value)
    except DigestInvalid:
        raise ManifestInvalid(
            f"{where} {value[:200]!r} is not a sha256 or sha512 digest",
            detail={"digest": value[:200]},
        ) from None


def _parse_platform(value: Any, where: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} is not an object")
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    for part in parts:
        if part is not None and not isinstance(part, str):
            raise ManifestInvalid(f"{where} has a value that is not a string")
    try:
        return Platform.parse("/".join(part for part in parts if part))
    except ValueError:
        # unknown words run on no platform anyone can ask for, which is no fault of the manifest
        return None


def _parse_urls(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ManifestInvalid(f"{where} is not an array of strings")
    return tuple(value)


def _parse_data(value: Any, where: str, digest: Digest, size: int) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ManifestInvalid(f"{where} is not a string")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ManifestInvalid(f"{where} is not base64") from None
    if len(data) != size or not digest.matches(data):
        raise ManifestInvalid(f"{where} is not the content that its digest and size promise")
    return data
