"""Builders: an open data folder with every part, and images to put in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connected_registry.oci import media_type
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.attention import Attention
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.content import ImageCommit
from connected_registry.storage.database import Database
from connected_registry.storage.disk import Checkpoint, pass_by
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.layout import Layout
from connected_registry.storage.ledger import Ledger
from connected_registry.storage.registry import Registry
from connected_registry.storage.uploads import Uploads

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REPOSITORY = RepositoryName("team/app")
OTHER = RepositoryName("team/other")


class Clock:
    """A clock that only tests move; every look is a second later than the one before."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The next second."""
        self.now += timedelta(seconds=1)
        return self.now

    def pass_by(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)


@dataclass
class Store:
    """All parts on one folder."""

    folder: DataFolder
    database: Database
    blobs: BlobStore
    uploads: Uploads
    registry: Registry
    ledger: Ledger
    layout: Layout
    clock: Clock = field(repr=False)

    def push_blob(self, content: bytes, repository: RepositoryName = REPOSITORY) -> Digest:
        """Upload a blob as a client would."""
        digest = Digest.of(content)
        upload = self.uploads.start(repository, "tester")
        self.uploads.append(upload, content)
        self.uploads.finish(upload, digest)
        return digest

    def push(self, image: Image, *tags: str, repository: RepositoryName = REPOSITORY) -> Digest:
        """Upload an image's blobs and its manifest, under ``tags`` or by digest alone."""
        for content in image.blobs:
            self.push_blob(content, repository)
        self.registry.put_manifest(
            repository,
            image.digest,
            image.media_type,
            image.content,
            tags=[Tag(tag) for tag in tags],
        )
        return image.digest

    def stored_files(self) -> list[Path]:
        """Everything below ``blobs/``."""
        return sorted(path for path in self.folder.blobs.rglob("*") if path.is_file())


@contextmanager
def open_store(
    path: Path, *, checkpoint: Checkpoint = pass_by, cache_bytes: int = 1 << 20
) -> Iterator[Store]:
    """Open a folder with every part and close it again."""
    clock = Clock()
    with (
        DataFolder.open(path) as folder,
        Database(folder.database, checkpoint=checkpoint) as database,
    ):
        attention = Attention(monotonic=lambda: clock.now.timestamp())
        blobs = BlobStore(folder, checkpoint=checkpoint, attention=attention)
        uploads = Uploads(folder, database, blobs, clock=clock)
        registry = Registry(folder, database, blobs, clock=clock, cache_bytes=cache_bytes)
        blobs.recover()
        uploads.recover()
        try:
            yield Store(
                folder,
                database,
                blobs,
                uploads,
                registry,
                Ledger(database),
                Layout(folder, database),
                clock,
            )
        finally:
            uploads.close()


@dataclass(frozen=True)
class Image:
    """A manifest's bytes and the blobs it needs."""

    content: bytes
    media_type: str
    blobs: tuple[bytes, ...] = ()

    @property
    def digest(self) -> Digest:
        """Of the manifest."""
        return Digest.of(self.content)

    def descriptor(self, **extra: Any) -> dict[str, Any]:
        """How others name it."""
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.content),
            **extra,
        }

    def commit(self, *tags: str, repository: RepositoryName = REPOSITORY) -> ImageCommit:
        """What the sync would hand over for it."""
        return ImageCommit(
            repository,
            tuple(Tag(tag) for tag in tags),
            self.digest,
            ((self.digest, self.media_type, self.content),),
            tuple((Digest.of(blob), len(blob)) for blob in self.blobs),
        )


def descriptor(content: bytes, kind: str = LAYER, **extra: Any) -> dict[str, Any]:
    """A descriptor of a blob."""
    return {"mediaType": kind, "digest": Digest.of(content), "size": len(content), **extra}


def image(*layers: bytes, config: bytes = b"{}", **extra: Any) -> Image:
    """An OCI image; ``extra`` are further fields of the manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **extra,
    }
    return Image(json.dumps(document).encode(), media_type.OCI_MANIFEST, (config, *layers))


def index(*entries: dict[str, Any], **extra: Any) -> Image:
    """An OCI index of descriptors."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_INDEX,
        "manifests": list(entries),
        **extra,
    }
    return Image(json.dumps(document).encode(), media_type.OCI_INDEX)


def multi_platform(platforms: Sequence[str]) -> tuple[Image, dict[str, Image]]:
    """An index and its images by platform."""
    images = {name: image(f"layer for {name}".encode()) for name in platforms}
    entries = []
    for name, each in images.items():
        system, architecture, *variant = name.split("/")
        platform = {"os": system, "architecture": architecture}
        if variant:
            platform["variant"] = variant[0]
        entries.append(each.descriptor(platform=platform))
    return index(*entries), images
