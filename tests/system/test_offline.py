"""The link goes away and comes back; the site does not notice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from peers.distribution import Distribution
from peers.images import make_image, make_platforms
from peers.proxy import CountingProxy
from system.clients import ContainerTools
from system.conftest import ReplicaFactory

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

PATIENCE = 400.0
"""Seconds: a silent parent is asked several times with half a minute each before it is given up."""

FAULTS: list[Callable[[CountingProxy], None]] = [
    CountingProxy.refuse,
    CountingProxy.black_hole,
    lambda link: link.black_hole(accept=False),
]


@pytest.mark.parametrize("fault", FAULTS, ids=["refused", "silent", "dropped"])
def test_site_goes_on_without_its_parent(
    distribution: Distribution,
    tools: ContainerTools,
    new_replica: ReplicaFactory,
    fault: Callable[[CountingProxy], None],
    request: pytest.FixtureRequest,
) -> None:
    """Pulls work with the link gone, status says so and since when, and it catches up by itself."""
    name = f"offline/{request.node.callspec.id}"
    old = distribution.push(make_platforms(name), name, "latest")
    with CountingProxy("127.0.0.1", distribution.port) as link:
        desired = {"scope": {"repositories": [{"name": name}]}, "sync": {"schedule": "* * * * *"}}
        replica = new_replica(desired, parent=link.address)
        replica.sync()
        before = datetime.now(UTC)

        fault(link)
        new = distribution.push(make_image(f"{name} new"), name, "latest")
        replica.command("sync", "--no-wait")
        offline = replica.wait_for_status(
            "connection state Offline",
            lambda status: status["connectionState"] == "Offline",
            PATIENCE,
        )
        tools.skopeo("inspect", "--tls-verify=false", f"docker://{replica.listen}/{name}:latest")

        assert replica.digest(name, "latest") == old.digest
        confirmed = datetime.fromisoformat(offline["inSyncAsOf"])
        assert offline["inSync"] != "true" or confirmed <= before
        since = datetime.fromisoformat(offline["parent"]["offlineSince"])
        assert before.replace(microsecond=0) <= since <= datetime.now(UTC)

        link.heal()
        replica.wait_for_status(
            "in sync again",
            lambda status: (
                status["connectionState"] == "Online"
                and replica.digest(name, "latest") == new.digest
            ),
            PATIENCE,
        )


def test_starts_and_serves_without_its_parent(
    distribution: Distribution, tools: ContainerTools, new_replica: ReplicaFactory
) -> None:
    """A replica that is started while the parent is away serves what it held."""
    image = distribution.push(make_platforms("restart"), "offline/restart", "latest")
    with CountingProxy("127.0.0.1", distribution.port) as link:
        desired = {"scope": {"repositories": [{"name": "offline/restart"}]}}
        replica = new_replica(desired, parent=link.address)
        replica.sync()
        replica.kill()
        link.black_hole()

        replica.start()

        tools.skopeo(
            "inspect", "--tls-verify=false", f"docker://{replica.listen}/offline/restart:latest"
        )
        assert replica.digest("offline/restart", "latest") == image.digest
