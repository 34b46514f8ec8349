"""What is served and pushed: images of random bytes, the same each time."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
PIECE = 1 << 20


@dataclass(frozen=True)
class Blob:
    """``size`` bytes that follow from ``seed``, made anew whenever they are needed."""

    seed: str
    size: int
    digest: str

    @classmethod
    def make(cls, seed: str, size: int) -> Blob:
        """With its digest."""
        running = hashlib.sha256()
        for piece in pieces(seed, size):
            running.update(piece)
        return cls(seed, size, f"sha256:{running.hexdigest()}")

    def __iter__(self) -> Iterator[bytes]:
        return pieces(self.seed, self.size)


def pieces(seed: str, size: int) -> Iterator[bytes]:
    """The bytes, a MiB at a time: one random MiB, rotated, for randomness is slow."""
    base = random.Random(seed).randbytes(PIECE)  # noqa: S311
    for number, at in enumerate(range(0, size, PIECE)):
        head = number.to_bytes(8, "big")
        yield (head + base[8:])[: min(PIECE, size - at)]


@dataclass(frozen=True)
class Image:
    """A manifest with its blobs."""

    content: bytes
    blobs: tuple[Blob, ...]
    config: bytes

    @property
    def digest(self) -> str:
        """The manifest's."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @classmethod
    def make(cls, name: str, sizes: tuple[int, ...]) -> Image:
        """With a layer of each size."""
        blobs = tuple(Blob.make(f"{name}/{number}", size) for number, size in enumerate(sizes))
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Labels": {"name": name}},
                "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
            }
        ).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, f"sha256:{_hex(config)}", len(config)),
            "layers": [_descriptor(LAYER, blob.digest, blob.size) for blob in blobs],
            # As long as manifests of real images are.
            "annotations": {"org.opencontainers.image.description": "x" * 1500},
        }
        return cls(json.dumps(document, indent=2).encode(), blobs, config)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def push_image(
    address: str, repository: str, tag: str, image: Image, headers: dict[str, str]
) -> None:
    """Push to any registry."""
    config = image.config
    for digest, size, content in [
        (f"sha256:{_hex(config)}", len(config), [config]),
        *((blob.digest, blob.size, blob) for blob in image.blobs),
    ]:
        push_blob(address, repository, digest, size, content, headers)
    connection = HTTPConnection(address, timeout=120)
    connection.request(
        "PUT",
        f"/v2/{repository}/manifests/{tag}",
        image.content,
        {**headers, "Content-Type": MANIFEST},
    )
    _expect(connection, 201)


def push_blob(
    address: str,
    repository: str,
    digest: str,
    size: int,
    content: object,
    headers: dict[str, str],
) -> None:
    """POST, PATCH and PUT, as skopeo and podman do."""
    connection = HTTPConnection(address, timeout=600)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", b"", headers)
    location = _path(_expect(connection, 202))
    fields = {**headers, "Content-Type": "application/octet-stream", "Content-Length": str(size)}
    connection.request("PATCH", location, iter(content), fields)  # type: ignore[call-overload]
    location = _path(_expect(connection, 202))
    mark = "&" if "?" in location else "?"
    connection.request("PUT", f"{location}{mark}digest={digest}", b"", headers)
    _expect(connection, 201)
    connection.close()


def _path(location: str) -> str:
    return location if location.startswith("/") else "/" + location.split("/", 3)[3]


def _expect(connection: HTTPConnection, status: int) -> str:
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != status:
        raise RuntimeError(f"{answer.status} instead of {status}: {said[:300]!r}")
    return answer.headers.get("Location", "")
