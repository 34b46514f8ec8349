"""A big layer over a bad link: each byte crosses once."""

from __future__ import annotations

import random

import pytest

from peers.distribution import Distribution
from peers.images import Image, make_image
from peers.proxy import CountingProxy
from system.conftest import ReplicaFactory
from system.replica import OFFLINE, YES_OR_NO, Replica, wait_until

pytestmark = pytest.mark.system

MIB = 1024 * 1024
LAYER = 200 * 1000 * 1000


@pytest.fixture(scope="module")
def big(distribution: Distribution) -> Image:
    """An image with one layer of 200 MB that does not compress."""
    return distribution.push(make_image("big", size=LAYER), "big/image", "v1")


def start(new_replica: ReplicaFactory, link: CountingProxy) -> Replica:
    """A replica of the big image over the link."""
    desired = {
        "scope": {"repositories": [{"name": "big/image"}]},
        # Nothing but what a test asks for: the schedule's next start is years away.
        "sync": {"schedule": "0 0 29 2 *"},
    }
    return new_replica(desired, parent=link.address)


def wait_for_bytes(link: CountingProxy, count: int) -> None:
    """Return when ``count`` bytes came down in all."""
    wait_until(f"{count} bytes", lambda: link.bytes_down >= count)


def test_cuts_and_kills_cost_at_most_a_mebibyte_each(
    distribution: Distribution, big: Image, new_replica: ReplicaFactory
) -> None:
    """Five cuts at random and two kills: the layer crosses the link once, plus 1 MiB each."""
    layer = big.layers[0]
    chances = random.Random(20261123)
    faults = 7
    with CountingProxy("127.0.0.1", distribution.port) as link:
        link.rate_limit(60 * MIB)  # slow enough for every fault to come in the middle
        replica = start(new_replica, link)
        for fault in range(faults):
            part = layer.size // faults
            point = fault * part + chances.randrange(part // 4, part * 3 // 4)
            replica.command("sync", "--no-wait")
            wait_for_bytes(link, point)
            if fault in (2, 5):
                replica.kill()
                replica.start()
            else:
                link.cut_now()
        link.rate_limit(None)
        wait_until(
            "the image", lambda: replica.sync(expect={*YES_OR_NO, OFFLINE})["state"] == "Succeeded"
        )

        assert replica.digest("big/image", "v1") == big.digest
        assert link.bytes_down <= layer.size + faults * MIB + MIB // 4


def test_second_sync_moves_nothing(
    distribution: Distribution, big: Image, new_replica: ReplicaFactory
) -> None:
    """With nothing changed no blob and no manifest body is fetched."""
    with CountingProxy("127.0.0.1", distribution.port) as link:
        replica = start(new_replica, link)
        replica.sync()
        start_of_log = len(distribution.log)

        result = replica.sync()

        requests = [line for line in distribution.log[start_of_log:].splitlines() if "GET" in line]
        assert result["imagesFetched"] == 0
        assert not [line for line in requests if "/blobs/" in line or "/manifests/" in line]
        assert replica.digest("big/image", "v1") == big.digest
