"""What a site holds, written down for whoever makes its next bundle. A receipt is one, too."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import AwareDatetime

from connected_registry.bundle.document import (
    DigestField,
    Document,
    RepositoryField,
    Size,
    TagField,
)
from connected_registry.errors import ConfigurationError, NameUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.scope import Scope
from connected_registry.storage.content import TagDetails
from connected_registry.storage.registry import Registry

KIND: Final = "connected-registry inventory"
MAX_INVENTORY: Final = 512 * 1024 * 1024


class HeldImage(Document):
    """A tag and what it names at the site."""

    repository: RepositoryField
    tag: TagField
    digest: DigestField


class RefusedImage(Document):
    """An image of a bundle that did not come in, and why."""

    image: str
    reason: str
    detail: str


class Receipt(Document):
    """What came of importing a bundle."""

    bundle: DigestField
    imported_at: AwareDatetime
    signed: bool = False
    """Whether the signature was checked."""
    imported: tuple[str, ...] = ()
    current: tuple[str, ...] = ()
    """Images that were here already."""
    refused: tuple[RefusedImage, ...] = ()
    bytes_imported: Size = 0


class Inventory(Document):
    """Everything the site shows, and what it wants."""

    kind: Literal["connected-registry inventory"] = KIND
    format: Literal[1] = 1
    site: str
    taken_at: AwareDatetime
    scope: Scope | None = None
    free_bytes: Size = 0
    images: tuple[HeldImage, ...] = ()
    digests: tuple[DigestField, ...] = ()
    """Manifests and blobs that are whole here."""
    receipt: Receipt | None = None
    """Of the last bundle."""

    @classmethod
    def load(cls, option: str, path: Path) -> Self:
        """From a file. Raises `ConfigurationError` for one that cannot be read, `BundleInvalid`."""
        try:
            with path.open("rb") as file:
                content = file.read(MAX_INVENTORY + 1)
        except OSError as error:
            raise ConfigurationError(
                option, str(path), f"the file cannot be read: {error.strerror}"
            ) from None
        if len(content) > MAX_INVENTORY:
            raise ConfigurationError(option, str(path), "the file is too large for an inventory")
        return cls.read(content, str(path))

    @classmethod
    def take(
        cls,
        registry: Registry,
        *,
        site: str,
        scope: Scope | None,
        now: datetime,
        receipt: Receipt | None = None,
    ) -> Self:
        """Look through everything the registry shows."""
        images: list[HeldImage] = []
        digests: set[Digest] = set()
        for name in repositories(registry):
            images += (
                HeldImage(repository=name, tag=Tag(tag.name), digest=tag.digest)
                for tag in tags(registry, name)
            )
            for manifest in _manifests(registry, name):
                found = registry.closure(name, manifest)
                digests.update(found.manifests)
                digests.update(digest for digest, _ in found.blobs)
        return cls(
            site=site,
            taken_at=now,
            scope=scope,
            free_bytes=registry.statistics().free_bytes,
            images=tuple(images),
            digests=tuple(sorted(digests)),
            receipt=receipt,
        )


def repositories(registry: Registry) -> list[RepositoryName]:
    """Every repository, in order of name."""
    return [RepositoryName(name) for name in registry.list_repositories().items]


def tags(registry: Registry, repository: RepositoryName) -> list[TagDetails]:
    """Every tag of a repository, in order of name; none where it is gone meanwhile."""
    found: list[TagDetails] = []
    last: str | None = None
    try:
        while True:
            page = registry.tag_details(repository, last)
            found += page.items
            if (last := page.next) is None:
                return found
    except NameUnknown:
        return found


def _manifests(registry: Registry, repository: RepositoryName) -> list[Digest]:
    found: list[Digest] = []
    last: str | None = None
    try:
        while True:
            page = registry.manifest_details(repository, last)
            found += [each.digest for each in page.items]
            if (last := page.next) is None:
                return found
    except NameUnknown:
        return found
