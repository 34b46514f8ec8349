"""What the sample parent offers, and pushing it there."""

from __future__ import annotations

import json
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx

from sample.image import Content, Image, multi_platform, referrer, runnable
from sample.program import MACHINES, greeting

SIGNATURE = "application/vnd.example.signature.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Sample:
    """An image under its repository and tags; a referrer has no tag."""

    repository: str
    tags: tuple[str, ...]
    image: Image


def samples(busybox: Path = Path("/bin/busybox")) -> Iterator[Sample]:
    """``samples/hello`` for two platforms and, where the machine has a static one, busybox."""
    for version, tags in (("1.0", ("1.0",)), ("1.1", ("1.1", "latest"))):
        hello = _hello(version)
        yield Sample("samples/hello", tags, hello)
        payload = Content("application/json", json.dumps({"signed": hello.root.digest}).encode())
        yield Sample("samples/hello", (), referrer(hello.root, SIGNATURE, payload))
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture and is_static(busybox):
        files = {"bin/busybox": busybox.read_bytes()}
        image = runnable(architecture, files, ["/bin/sh"], {"bin/sh": "busybox"})
        yield Sample("samples/busybox", ("latest",), image)


def is_static(program: Path) -> bool:
    """Whether ``program`` is a 64-bit ELF file that asks for no loader."""
    try:
        with program.open("rb") as file:
            header = file.read(64)
            if header[:5] != b"\x7fELF\x02":
                return False
            start, size, count = (
                struct.unpack_from("<Q", header, 32)[0],
                *struct.unpack_from("<HH", header, 54),
            )
            file.seek(start)
            table = file.read(size * count)
    except (OSError, struct.error):
        return False
    interpreter = 3
    return all(
        struct.unpack_from("<I", table, entry * size)[0] != interpreter for entry in range(count)
    )


def publish(registry: str, sample: Sample) -> bool:
    """Push ``sample`` to the registry at this base address; False where it is there already."""
    image = sample.image
    base = f"{registry}/v2/{sample.repository}"
    names = sample.tags or (image.root.digest,)
    with httpx.Client(timeout=30, trust_env=False) as client:
        if all(_holds(client, f"{base}/manifests/{name}", image.root) for name in names):
            return False
        for blob in image.blobs:
            _push_blob(client, base, blob)
        for child in image.children:
            _push_manifest(client, f"{base}/manifests/{child.digest}", child)
        for name in names:
            _push_manifest(client, f"{base}/manifests/{name}", image.root)
    return True


def _hello(version: str) -> Image:
    images = {
        architecture: runnable(
            architecture,
            {
                "hello": greeting(
                    architecture,
                    f"Hello from samples/hello:{version} on linux/{architecture}, "
                    "served by a connected registry.",
                )
            },
            ["/hello"],
        )
        for architecture in MACHINES
    }
    return multi_platform(images, {"org.opencontainers.image.version": version})


def _holds(client: httpx.Client, address: str, manifest: Content) -> bool:
    answer = client.head(address, headers={"Accept": manifest.media_type})
    return answer.is_success and answer.headers.get("Docker-Content-Digest") == manifest.digest


def _push_blob(client: httpx.Client, base: str, blob: Content) -> None:
    if client.head(f"{base}/blobs/{blob.digest}").is_success:
        return
    session = client.post(f"{base}/blobs/uploads/").raise_for_status()
    location = urljoin(str(session.url), session.headers["Location"])
    client.put(
        httpx.URL(location).copy_merge_params({"digest": blob.digest}), content=blob.data
    ).raise_for_status()


def _push_manifest(client: httpx.Client, address: str, manifest: Content) -> None:
    client.put(
        address, content=manifest.data, headers={"Content-Type": manifest.media_type}
    ).raise_for_status()
