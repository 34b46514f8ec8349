"""What the registry hands out: values, independent of the tables they come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag

Item = TypeVar("Item")

Origin = Literal["local", "parent"]
"""Pushed here, or brought by the sync."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as one repository shows it; ``content`` is byte for byte what was pushed."""

    repository: RepositoryName
    digest: Digest
    media_type: str
    size: int
    content: bytes
    subject: Digest | None
    artifact_type: str | None
    pushed_at: datetime


class ArtifactChange(NamedTuple):
    """What a client did; for a manifest deleted with its tags, one for each tag and one without."""

    action: Literal["push", "delete"]
    repository: RepositoryName
    tag: Tag | None
    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob and the file that holds it."""

    digest: Digest
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a listing. ``next`` is the ``last`` to ask on with; ``None`` when exhausted."""

    items: tuple[Item, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class TagDetails:
    """A tag, what it names, and since when."""

    name: str
    digest: Digest
    media_type: str
    created_at: datetime
    updated_at: datetime
    origin: Origin
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ManifestDetails:
    """A manifest, its tags, and how large it and what it directly names are together."""

    digest: Digest
    media_type: str
    artifact_type: str | None
    size: int
    image_size: int
    origin: Origin
    pushed_at: datetime
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageCommit:
    """One image with everything that becomes visible together with it.

    ``manifests`` are ``(digest, media type, content)``, ``blobs`` are ``(digest, size)`` of files
    that the `BlobStore` holds already. Children that are not among the manifests stay missing.
    """

    repository: RepositoryName
    tags: tuple[Tag, ...]
    root: Digest
    manifests: tuple[tuple[Digest, str, bytes], ...]
    blobs: tuple[tuple[Digest, int], ...] = ()
    origin: Origin = "parent"
    confirmed_at: datetime | None = None
    companions: tuple[tuple[Tag, Digest], ...] = ()
    """Signature tags and the like, each naming one of ``manifests``; they move with the tags."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Content that an image names and the repository does not show.

    ``reason``: ``missing``, ``not selected`` (of a platform that was not asked for) or ``unknown``
    (the image was too large to look through).
    """

    digest: Digest
    size: int
    reason: Literal["missing", "not selected", "unknown"]


@dataclass(frozen=True, slots=True)
class Closure:
    """An image as far as it is here. ``complete``: nothing but unselected platforms is missing."""

    complete: bool
    missing: tuple[Missing, ...]
    manifests: tuple[Digest, ...]
    blobs: tuple[tuple[Digest, int], ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the folder holds. ``bytes`` counts every file once, whoever shows it."""

    repositories: int
    tags: int
    manifests: int
    blobs: int
    bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class RepositoryStatistics:
    """What one repository shows; content shared with others counts in each."""

    name: str
    tags: int
    manifests: int
    blobs: int
    bytes: int
