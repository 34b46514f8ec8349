"""Container images as values, made from files in memory; the same input gives the same digests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True)
class Content:
    """Bytes with their media type."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        """The sha256 name of the bytes."""
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """What a manifest says about this content; ``more`` are further descriptor fields."""
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.data),
            **more,
        }


@dataclass(frozen=True)
class Image:
    """A manifest or index with all it needs: ``children`` and ``blobs`` are pushed before it."""

    root: Content
    children: tuple[Content, ...]
    blobs: tuple[Content, ...]


def runnable(
    architecture: str,
    files: dict[str, bytes],
    command: list[str],
    links: dict[str, str] | None = None,
) -> Image:
    """An image for ``linux/<architecture>`` of one layer: ``files`` by path, all executable."""
    archive = _archive(files, links or {})
    layer = Content(LAYER, gzip.compress(archive, mtime=0))
    config = _document(
        CONFIG,
        {
            "created": "2026-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": command, "Env": ["PATH=/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(archive).hexdigest()],
            },
        },
    )
    manifest = _document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        },
    )
    return Image(manifest, (), (config, layer))


def multi_platform(images: dict[str, Image], annotations: dict[str, str]) -> Image:
    """One index over ``images`` by architecture."""
    index = _document(
        INDEX,
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                image.root.descriptor(platform={"architecture": architecture, "os": "linux"})
                for architecture, image in images.items()
            ],
            "annotations": annotations,
        },
    )
    children = tuple(image.root for image in images.values())
    blobs = tuple(blob for image in images.values() for blob in image.blobs)
    return Image(index, children, blobs)


def referrer(subject: Content, artifact_type: str, payload: Content) -> Image:
    """An artifact that says something about ``subject``, as a signature does."""
    config = Content(EMPTY, b"{}")
    manifest = _document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": config.descriptor(),
            "layers": [payload.descriptor()],
            "subject": subject.descriptor(),
        },
    )
    return Image(manifest, (), (config, payload))


def _document(media_type: str, value: dict[str, Any]) -> Content:
    return Content(media_type, json.dumps(value, indent=2).encode())


def _archive(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return buffer.getvalue()
