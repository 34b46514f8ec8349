"""A tag that moves at the parent while it is being synchronised."""

from __future__ import annotations

import threading
from typing import Any, Self

import httpx
import pytest

from peers.distribution import Distribution
from peers.images import OCI_INDEX, OCI_MANIFEST, make_platforms
from peers.proxy import CountingProxy
from system.conftest import ReplicaFactory
from system.replica import wait_until

pytestmark = pytest.mark.system

TAG = "moving/app"


class Onlooker:
    """Pulls the tag over and over in a thread, and notes every image that is not whole."""

    def __init__(self, registry: str) -> None:
        self._repository = f"/v2/{TAG}"
        self._client = httpx.Client(base_url=registry, trust_env=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: list[str] = []
        self.broken: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            index = self._manifest("latest")
            if index is None:
                continue
            for entry in index["manifests"]:
                child = self._manifest(entry["digest"])
                if child is None:
                    continue
                for blob in (child["config"], *child["layers"]):
                    self._must_have(f"{self._repository}/blobs/{blob['digest']}", blob["size"])

    def _manifest(self, reference: str) -> dict[str, Any] | None:
        answer = self._client.get(
            f"{self._repository}/manifests/{reference}",
            headers={"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"},
        )
        if not answer.is_success:
            self.broken.append(f"{reference}: {answer.status_code}")
            return None
        if reference == "latest":
            self.seen.append(answer.headers["Docker-Content-Digest"])
        found: dict[str, Any] = answer.json()
        return found

    def _must_have(self, path: str, size: int) -> None:
        answer = self._client.head(path)
        if answer.headers.get("Content-Length") != str(size):
            self.broken.append(f"{path}: {answer.status_code}")


def test_moving_tag_never_shows_half_an_image(
    distribution: Distribution, new_replica: ReplicaFactory
) -> None:
    """At every moment the tag names an image that is whole, the old one or the new one."""
    platforms = ("linux/amd64", "linux/arm64")
    images = [make_platforms(f"moving {n}", platforms, size=200_000) for n in range(6)]
    distribution.push(images[0], TAG, "latest")
    desired = {"scope": {"repositories": [{"name": TAG}]}, "sync": {"schedule": "0 0 29 2 *"}}
    with CountingProxy("127.0.0.1", distribution.port) as link:
        replica = new_replica(desired, parent=link.address)
        replica.sync()
        link.rate_limit(500_000)
        with Onlooker(replica.url) as onlooker:
            for image in images[1:]:
                before = link.bytes_down
                distribution.push(image, TAG, "latest")
                replica.command("sync", "--no-wait")
                # The next move comes when a part of this image is here and the rest is not.
                wait_until("a part", lambda b=before: link.bytes_down > b + 150_000)
            wait_until(
                "the last image",
                lambda: replica.sync() and replica.digest(TAG, "latest") == images[-1].digest,
            )

    assert onlooker.broken == []
    assert set(onlooker.seen) <= {image.digest for image in images}
    assert {images[0].digest, images[-1].digest} <= set(onlooker.seen)
