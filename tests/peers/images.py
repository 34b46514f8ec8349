"""Images, indexes and artifacts made in memory, and pushed to any registry in a line.

::

    image = make_image(name="app", size=100_000)
    index = make_index(make_image(platform="linux/amd64"), make_image(platform="linux/arm64"))
    push(index, "http://127.0.0.1:5000", "team/app", "latest", "1.0")
    push(make_signature(index), ...)

Everything is deterministic: the same arguments make the same digests. Layers are true tar
archives and configs name their true diff ids, so that podman and containerd can run them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
PIECE = 2**26


@dataclass(frozen=True)
class Content:
    """Bytes with a media type, called by their sha256."""

    media_type: str
    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """``sha256:<hex>``."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """What a manifest says of this content."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size} | more


@dataclass(frozen=True)
class Image:
    """A manifest with the blobs it names, or an index with the images it names.

    ``extra_tags`` are tags that its kind goes by, such as a signature's.
    """

    manifest: Content
    blobs: tuple[Content, ...] = ()
    children: tuple[Image, ...] = ()
    platform: str | None = None
    extra_tags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.manifest.digest

    @property
    def layers(self) -> tuple[Content, ...]:
        """The blobs without the config."""
        return self.blobs[1:]

    def everything(self) -> Iterator[Image]:
        """This image and all below it, children first."""
        for child in self.children:
            yield from child.everything()
        yield self

    def all_blobs(self) -> dict[str, Content]:
        """Each blob at or below this image, by digest."""
        return {blob.digest: blob for image in self.everything() for blob in image.blobs}


def make_layer(
    size: int = 1000,
    *,
    seed: object = "layer",
    files: Mapping[str, bytes] | None = None,
    media_type: str = OCI_LAYER,
) -> tuple[Content, str]:
    """A layer of about ``size`` bytes that do not compress, or of ``files``; with its diff id."""
    level = 1 if files else 0
    if files is None:
        source = random.Random(repr(seed))
        pieces = [source.randbytes(min(PIECE, size - at)) for at in range(0, size, PIECE)]
        files = {"data.bin": b"".join(pieces)}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    raw = archive.getvalue()
    packed = gzip.compress(raw, compresslevel=level, mtime=0)
    return Content(media_type, packed), f"sha256:{hashlib.sha256(raw).hexdigest()}"


def make_image(
    name: object = "image",
    *,
    size: int = 1000,
    layers: int = 1,
    platform: str = "linux/amd64",
    annotations: Mapping[str, str] | None = None,
    docker: bool = False,
    files: Mapping[str, bytes] | None = None,
    command: tuple[str, ...] = ("/data.bin",),
    shared: tuple[tuple[Content, str], ...] = (),
) -> Image:
    """An image for one platform; ``name`` makes it differ, ``shared`` are layers from elsewhere."""
    layer_type = DOCKER_LAYER if docker else OCI_LAYER
    made = [
        make_layer(size, seed=(name, platform, n), files=files, media_type=layer_type)
        for n in range(layers)
    ]
    parts = [*shared, *made]
    system, architecture, *variant = platform.split("/")
    config = {
        "architecture": architecture,
        "os": system,
        **({"variant": variant[0]} if variant else {}),
        "config": {"Cmd": list(command), "Labels": {"name": str(name)}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in parts]},
        "created": "2026-01-01T00:00:00Z",
    }
    config_type = DOCKER_CONFIG if docker else OCI_CONFIG
    config_blob = Content(config_type, _json(config))
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config_blob.descriptor(),
        "layers": [layer.descriptor() for layer, _ in parts],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return Image(
        Content(media_type, _json(document)),
        (config_blob, *(layer for layer, _ in parts)),
        platform=platform,
    )


def make_index(
    *children: Image, annotations: Mapping[str, str] | None = None, docker: bool = False
) -> Image:
    """An index of images, each entered with its platform; indexes may be nested."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [child.manifest.descriptor(**_platform(child.platform)) for child in children],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return Image(Content(media_type, _json(document)), children=children)


def make_platforms(
    name: object = "image",
    platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64", "linux/arm/v7"),
    *,
    size: int = 1000,
) -> Image:
    """A multi-platform image."""
    return make_index(*(make_image(name, size=size, platform=each) for each in platforms))


def make_artifact(
    subject: Image | None = None,
    *,
    artifact_type: str = "application/vnd.example.sbom",
    data: bytes = b"an artifact",
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """An artifact of the OCI 1.1 form, about ``subject`` if given."""
    config = Content(EMPTY, b"{}")
    payload = Content(artifact_type, data)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": config.descriptor(),
        "layers": [payload.descriptor()],
    }
    if subject is not None:
        document["subject"] = subject.manifest.descriptor()
    if annotations:
        document["annotations"] = dict(annotations)
    return Image(Content(OCI_MANIFEST, _json(document)), (config, payload))


def make_signature(subject: Image, suffix: str = "sig") -> Image:
    """What cosign keeps beside an image, under the tag ``sha256-<hex>.<suffix>``."""
    artifact = make_artifact(
        artifact_type="application/vnd.dev.cosign.simplesigning.v1+json",
        data=_json({"critical": {"image": {"docker-manifest-digest": subject.digest}}}),
    )
    tag = f"{subject.digest.replace(':', '-')}.{suffix}"
    return Image(artifact.manifest, artifact.blobs, extra_tags=(tag,))


def make_fallback(subject: Image, *referrers: Image) -> Image:
    """The index under the tag ``sha256-<hex>`` by which old registries list referrers."""
    index = make_index(*referrers)
    return Image(index.manifest, children=referrers, extra_tags=(subject.digest.replace(":", "-"),))


def push(
    image: Image,
    base_url: str,
    repository: str,
    *tags: str,
    auth: httpx.Auth | tuple[str, str] | None = None,
    verify: Any = True,
    headers: Mapping[str, str] | None = None,
) -> Image:
    """Push an image with all below it, and name it by ``tags``; returns it.

    ``base_url`` is like ``http://127.0.0.1:5000``; blobs that are there are not sent again.
    """
    with httpx.Client(
        base_url=base_url, auth=auth, verify=verify, headers=headers, trust_env=False, timeout=60
    ) as client:
        for blob in image.all_blobs().values():
            push_blob(client, repository, blob)
        for each in image.everything():
            names = [each.digest, *each.extra_tags]
            for name in [*names, *tags] if each is image else names:
                put_manifest(client, repository, name, each.manifest)
    return image


def push_blob(client: httpx.Client, repository: str, blob: Content) -> None:
    """Send one blob unless it is there."""
    if client.head(f"/v2/{repository}/blobs/{blob.digest}").is_success:
        return
    started = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
    location = started.url.join(started.headers["location"])
    client.put(
        location.copy_add_param("digest", blob.digest),
        content=blob.data,
        headers={"Content-Type": "application/octet-stream"},
    ).raise_for_status()


def put_manifest(client: httpx.Client, repository: str, reference: str, content: Content) -> None:
    """Store a manifest under one tag or digest."""
    client.put(
        f"/v2/{repository}/manifests/{reference}",
        content=content.data,
        headers={"Content-Type": content.media_type},
    ).raise_for_status()


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=2).encode()


def _platform(platform: str | None) -> dict[str, Any]:
    if platform is None:
        return {}
    system, architecture, *variant = platform.split("/")
    found = {"os": system, "architecture": architecture}
    return {"platform": found | ({"variant": variant[0]} if variant else {})}
