"""The table of contents that a bundle begins with: which images, and where their bytes are."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Final, Literal

from pydantic import AwareDatetime, Field

from connected_registry.bundle.document import (
    DigestField,
    Document,
    RepositoryField,
    Size,
    TagField,
)
from connected_registry.oci.digest import Digest

KIND: Final = "connected-registry bundle"
MAX_CONTENTS: Final = 256 * 1024 * 1024
"""Most bytes of a table of contents that are read."""


class BundledManifest(Document):
    """A manifest of an image, whether its bytes are in the bundle or at the site already."""

    digest: DigestField
    media_type: str = Field(max_length=255)
    size: Size


class BundledCompanion(Document):
    """A tag that travels with an image, such as a signature's."""

    tag: TagField
    digest: DigestField


class BundledImage(Document):
    """One tag and everything below it."""

    repository: RepositoryField
    tag: TagField
    digest: DigestField
    size: Size
    """Bytes of all its manifests and blobs, whether in the bundle or not."""
    confirmed_at: AwareDatetime | None = None
    """When the parent last told the exporting replica that the tag names this digest."""
    created: AwareDatetime | None = None
    manifests: tuple[BundledManifest, ...]
    """Children before their index, the root after its children, referrers last."""
    companions: tuple[BundledCompanion, ...] = ()

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


class BundledFile(Document):
    """Content in the bundle. ``offset`` counts from the end of the head."""

    digest: DigestField
    size: Size
    offset: Size


class Contents(Document):
    """The whole table. The digest of its bytes is the bundle's name."""

    kind: Literal["connected-registry bundle"] = KIND
    format: Literal[1] = 1
    made_for: str | None = None
    """The site whose inventory told what to leave out; None: nothing was left out."""
    volume_size: Size | None = Field(None, gt=0)
    data_size: Size
    """Bytes of the archive after the head."""
    images: tuple[BundledImage, ...]
    files: tuple[BundledFile, ...]

    @cached_property
    def places(self) -> dict[Digest, BundledFile]:
        """Where each content is."""
        return {file.digest: file for file in self.files}

    @property
    def newest(self) -> datetime | None:
        """When the parent confirmed the image that it confirmed last."""
        return max((each.confirmed_at for each in self.images if each.confirmed_at), default=None)
