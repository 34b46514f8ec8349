"""What a request's path names. Pure: bytes in, one value out.

The path is decoded once and read from the right, because repository names may contain the words
``blobs``, ``manifests``, ``tags``, ``uploads`` and ``referrers`` as components. What is found here
is both what is authorised and what is served; nothing looks at the path again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote_to_bytes

from connected_registry.errors import (
    AddressTooLong,
    AddressUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    NameInvalid,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag, parse_reference

MAX_ADDRESS: Final = 16 * 1024
"""Longest path with query, in bytes; longer gets 414."""

_PART = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_AUTHORITY = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class Resource(Enum):
    """The kinds of thing this registry has an address for."""

    VERSION = auto()
    CATALOG = auto()
    TAGS = auto()
    MANIFEST = auto()
    BLOB = auto()
    UPLOADS = auto()
    UPLOAD = auto()
    REFERRERS = auto()
    TOKEN = auto()
    EXCHANGE = auto()
    ACR_CATALOG = auto()
    ACR_REPOSITORY = auto()
    ACR_TAGS = auto()
    ACR_TAG = auto()
    ACR_MANIFESTS = auto()
    ACR_MANIFEST = auto()
    HEALTH = auto()
    PAGE = auto()
    PAGE_SIGN_IN = auto()
    PAGE_SIGN_OUT = auto()
    PAGE_DEED = auto()
    PAGE_FILE = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """One address: the resource with the values its path carries."""

    resource: Resource
    repository: RepositoryName | None = None
    reference: Tag | Digest | None = None
    session: str | None = None
    part: str | None = None
    """Which deed or file of the status page."""


_PARTS: Final = {"/_/do/": Resource.PAGE_DEED, "/_/static/": Resource.PAGE_FILE}

_FIXED: Final = {
    "/v2": Target(Resource.VERSION),
    "/v2/": Target(Resource.VERSION),
    "/v2/_catalog": Target(Resource.CATALOG),
    "/acr/oauth2/token": Target(Resource.TOKEN),
    "/oauth2/token": Target(Resource.TOKEN),
    "/acr/oauth2/exchange": Target(Resource.EXCHANGE),
    "/oauth2/exchange": Target(Resource.EXCHANGE),
    "/acr/v1/_catalog": Target(Resource.ACR_CATALOG),
    "/healthz": Target(Resource.HEALTH),
    "/": Target(Resource.PAGE),
    "/_/sign-in": Target(Resource.PAGE_SIGN_IN),
    "/_/sign-out": Target(Resource.PAGE_SIGN_OUT),
}


def parse_target(raw_path: bytes) -> Target:
    """The resource at ``raw_path``, still percent-encoded as it came over the wire.

    Raises `AddressUnknown` where nothing can be, `AddressTooLong`, and `NameInvalid`,
    `TagInvalid`, `DigestInvalid` or `BlobUploadUnknown` for a part that breaks its grammar.
    """
    if len(raw_path) > MAX_ADDRESS:
        raise AddressTooLong
    try:
        path = unquote_to_bytes(_without_authority(raw_path)).decode()
    except UnicodeDecodeError:
        raise NameInvalid("the request path is not UTF-8") from None
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    if path.startswith("/v2/"):
        return _parse_distribution(path.removeprefix("/v2/").split("/"))
    if path.startswith("/acr/v1/"):
        return _parse_acr(path.removeprefix("/acr/v1/").split("/"))
    for prefix, resource in _PARTS.items():
        part = path.removeprefix(prefix)
        if part != path and _PART.fullmatch(part):
            return Target(resource, part=part)
    raise AddressUnknown


def _without_authority(raw_path: bytes) -> bytes:
    """The path of a request target in absolute form, which every server has to take."""
    match = None if raw_path.startswith(b"/") else _AUTHORITY.match(raw_path)
    return raw_path if match is None else raw_path[match.end() :] or b"/"


def _parse_distribution(parts: list[str]) -> Target:
    """``<name>/manifests/<reference>`` and its like, the last words first."""
    match parts:
        case [*name, "tags", "list"]:
            return Target(Resource.TAGS, _name(name))
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return Target(Resource.UPLOADS, _name(name))
        case [*name, "blobs", "uploads", session]:
            repository = _name(name)
            if not _SESSION.fullmatch(session):
                raise BlobUploadUnknown
            return Target(Resource.UPLOAD, repository, session=session)
        case [*name, "manifests", reference]:
            return Target(Resource.MANIFEST, _name(name), parse_reference(reference))
        case [*name, "blobs", digest]:
            return Target(Resource.BLOB, _name(name), Digest.parse(digest))
        case [*name, "referrers", digest]:
            return Target(Resource.REFERRERS, _name(name), Digest.parse(digest))
    if any(":" in part for part in parts):
        # Only a digest has a colon, and none has the slash that must have been in this one.
        raise DigestInvalid("invalid digest")
    raise AddressUnknown


def _parse_acr(parts: list[str]) -> Target:
    """Azure's metadata addresses: ``<name>``, ``<name>/_tags/<tag>``, ``<name>/_manifests/...``."""
    match parts:
        case [*name, "_tags"]:
            return Target(Resource.ACR_TAGS, _name(name))
        case [*name, "_tags", tag]:
            return Target(Resource.ACR_TAG, _name(name), Tag.parse(tag))
        case [*name, "_manifests"]:
            return Target(Resource.ACR_MANIFESTS, _name(name))
        case [*name, "_manifests", digest]:
            return Target(Resource.ACR_MANIFEST, _name(name), Digest.parse(digest))
    return Target(Resource.ACR_REPOSITORY, _name(parts))


def _name(parts: list[str]) -> RepositoryName:
    return RepositoryName.parse("/".join(parts))
