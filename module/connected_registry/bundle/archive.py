"""The form of a bundle: one tar archive whose members follow each other in a known order.

::

    bundle.json                the table of contents, `contents.Contents`
    bundle.json.hmac-sha256    only in a signed bundle
    oci-layout  index.json     an OCI image layout from here on
    blobs/<algorithm>/<hex>    manifests first, then each image's blobs in the order of images

An import never follows what the archive's headers say, but the table of contents; what it reads
there is believed only when its digest is right. So no link or path in an archive means anything.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from typing import Any, Final

from connected_registry.bundle.contents import BundledImage, Contents
from connected_registry.errors import BundleInvalid
from connected_registry.oci import media_type
from connected_registry.oci.digest import Digest

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What a tar archive ends with."""

CONTENTS: Final = "bundle.json"
SEAL: Final = "bundle.json.hmac-sha256"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}\n'
REF_NAME: Final = "org.opencontainers.image.ref.name"


def header(name: str, size: int) -> bytes:
    """What stands before a member's bytes; longer than a block for long names and sizes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8")


def padding(size: int) -> int:
    """Zeroes after a member of ``size`` bytes."""
    return -size % BLOCK


def member(name: str, content: bytes) -> bytes:
    """A whole member."""
    return header(name, len(content)) + content + bytes(padding(len(content)))


def blob_name(digest: Digest) -> str:
    """Where an OCI image layout has the content."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def read_header(block: bytes, source: str) -> tuple[str, int]:
    """Name and size of a plain member. Raises `BundleInvalid`."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise BundleInvalid(f"{source} is no bundle, or its beginning is damaged") from error
    return info.name, info.size


def index(images: Iterable[BundledImage]) -> bytes:
    """``index.json``: each image under ``repository:tag``, as skopeo and others look it up."""
    entries: list[dict[str, Any]] = []
    for image in images:
        types = {each.digest: each for each in image.manifests}
        named = [(image.tag, image.digest), *((c.tag, c.digest) for c in image.companions)]
        for tag, digest in named:
            found = types[digest]
            entries.append(
                {
                    "mediaType": found.media_type,
                    "digest": digest,
                    "size": found.size,
                    "annotations": {REF_NAME: f"{image.repository}:{tag}"},
                }
            )
    document = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": entries}
    return json.dumps(document, indent=1).encode() + b"\n"


def head(contents: bytes, seal: bytes | None) -> bytes:
    """Everything before the first byte that offsets count from."""
    return member(CONTENTS, contents) + (member(SEAL, seal) if seal is not None else b"")


def preamble(images: Iterable[BundledImage]) -> bytes:
    """The first members after the head."""
    return member("oci-layout", LAYOUT) + member("index.json", index(images))


def total_size(contents: Contents, head_size: int) -> int:
    """Length of the whole archive."""
    return head_size + contents.data_size
