"""ReadWrite sites in processes of their own: pushes travel up a chain, over kills and cut links."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peers.distribution import Distribution
from peers.images import Image, make_artifact, make_image, make_platforms, push
from peers.proxy import CountingProxy
from system.conftest import ReplicaFactory
from system.replica import Replica, digest_at, wait_until

pytestmark = [pytest.mark.system, pytest.mark.faults]

READ_WRITE: dict[str, Any] = {
    "mode": "ReadWrite",
    "scope": {"repositories": [{"name": "*"}]},
}


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Distribution]:
    """Debian's docker-registry, a new one for each test: it stands for the cloud."""
    with Distribution(tmp_path / "top") as registry:
        yield registry


def sync_with(**policy: Any) -> dict[str, Any]:
    """A ReadWrite site with these values in ``sync``."""
    return {**READ_WRITE, "sync": policy}


def arrived(registry: str, repository: str, tag: str, image: Image) -> bool:
    """Whether a registry names the image by the tag; if it does, everything below it is there."""
    if digest_at(registry, repository, tag) != image.digest:
        return False
    for each in image.everything():
        assert digest_at(registry, repository, each.digest) == each.digest
        for blob in each.blobs:
            answer = httpx.get(f"{registry}/v2/{repository}/blobs/{blob.digest}", trust_env=False)
            assert answer.content == blob.data
    return True


def uploads(replica: Replica) -> list[dict[str, Any]]:
    """What waits there to go up."""
    rows: list[dict[str, Any]] = replica.command("uploads", expect={0, 1})["uploads"]
    return rows


def test_a_push_at_the_bottom_reaches_the_top_and_a_tag_moved_there_the_bottom(
    new_replica: ReplicaFactory, top: Distribution
) -> None:
    """Two replicas in a chain below docker-registry, both directions, signatures included."""
    middle = new_replica(READ_WRITE, parent=top.address)
    bottom = new_replica(READ_WRITE, parent=middle.listen)
    app = push(make_platforms("app", size=50_000), bottom.url, "team/app", "1.0")
    signature = push(make_artifact(app), bottom.url, "team/app")

    wait_until("the image at the top", lambda: arrived(top.url, "team/app", "1.0", app))
    wait_until("its signature", lambda: digest_at(top.url, "team/app", signature.digest))
    wait_until("an empty queue", lambda: not uploads(bottom) and not uploads(middle))

    newer = top.push(make_platforms("newer"), "team/app", "1.0")
    middle.sync()
    bottom.sync()
    assert bottom.digest("team/app", "1.0") == newer.digest
    assert not uploads(bottom)
    assert not uploads(middle)


def test_a_kill_in_the_middle_of_an_upload_costs_no_more_than_a_piece(
    new_replica: ReplicaFactory,
) -> None:
    """The parent has the image whole or not at all, and few bytes are sent twice."""
    size, kills = 6_000_000, 5
    parent = new_replica(READ_WRITE)
    host, _, port = parent.listen.rpartition(":")
    dice = random.Random(1)
    with CountingProxy(host, int(port)) as link:
        site = new_replica(sync_with(maxBytesPerSecond=1_000_000), parent=link.address)
        app = push(make_image("big", size=size), site.url, "team/big", "1.0")
        for _ in range(kills):
            time.sleep(dice.uniform(0.2, 1.0))
            site.kill()
            assert parent.digest("team/big", "1.0") in (None, app.digest)
            site.start()
        wait_until("the image", lambda: arrived(parent.url, "team/big", "1.0", app))
        wait_until("an empty queue", lambda: not uploads(site))
        assert link.bytes_up < size + (kills + 1) * 2_200_000


def test_pushes_made_while_the_parent_is_away_arrive_when_it_is_back(
    new_replica: ReplicaFactory, top: Distribution
) -> None:
    """They are listed as waiting meanwhile, survive a restart, and end in order for each tag."""
    with CountingProxy("127.0.0.1", top.port) as link:
        site = new_replica(READ_WRITE, parent=link.address)
        link.refuse()
        last: dict[str, Image] = {}
        dice = random.Random(2)
        for number in range(40):
            tag = f"t{dice.randrange(8)}"
            last[tag] = push(make_image(number), site.url, "team/app", tag)
        assert len(uploads(site)) == 40
        status = site.wait_for_status("offline", lambda s: s["connectionState"] == "Offline")
        assert status["uploads"]["waiting"] == 40
        site.kill()
        site.start()
        link.heal()
        wait_until("an empty queue", lambda: not uploads(site))
    for tag, image in last.items():
        assert arrived(top.url, "team/app", tag, image)


def test_pushes_refused_for_a_password_arrive_with_the_right_one(
    tmp_path: Path, new_replica: ReplicaFactory
) -> None:
    """A wrong password is told, loses nothing, and a new one is tried at once."""
    with Distribution(tmp_path / "guarded", htpasswd={"site": "right"}) as guarded:
        password = tmp_path / "password"
        password.write_text("wrong")
        environment = {
            "CONNECTED_REGISTRY_PARENT_USERNAME": "site",
            "CONNECTED_REGISTRY_PARENT_PASSWORD_FILE": str(password),
        }
        site = new_replica(READ_WRITE, parent=guarded.address, environment=environment)
        push(make_image("app"), site.url, "team/app", "1.0")
        status = site.wait_for_status(
            "the refusal", lambda s: any(d["type"] == "Uploads" for d in s["statusDetails"])
        )
        assert status["uploads"]["waiting"] + status["uploads"]["failed"] == 1

        password.write_text("right")
        site.stop()
        site.start()
        wait_until("an empty queue", lambda: not uploads(site))


def test_a_site_stays_read_write_while_pushes_wait(
    new_replica: ReplicaFactory, top: Distribution
) -> None:
    """ReadOnly is refused with 409 and the number of pushes, and possible once they are up."""
    top.stop()
    site = new_replica(READ_WRITE, parent=top.address)
    push(make_image("app"), site.url, "team/app", "1.0")
    site.write_twin({**READ_WRITE, "mode": "ReadOnly"})
    status = site.wait_for_status("409", lambda s: s["mode"]["ac"] == 409)
    assert status["mode"]["value"] == "ReadWrite"
    assert "1 push" in status["mode"]["ad"]

    top.start()
    wait_until("an empty queue", lambda: not uploads(site))
    site.write_twin({**READ_WRITE, "mode": "ReadOnly", "anonymousPull": True})
    site.wait_for_status("ReadOnly", lambda s: s["mode"]["value"] == "ReadOnly")


def test_a_read_only_parent_is_told_and_nothing_is_lost(
    new_replica: ReplicaFactory, top: Distribution
) -> None:
    """The status says what to do; once the parent takes pushes, they arrive."""
    read_only = {**READ_WRITE, "mode": "ReadOnly"}
    parent = new_replica(read_only, parent=top.address)
    site = new_replica(READ_WRITE, parent=parent.listen)
    app = push(make_image("app"), site.url, "team/app", "1.0")
    status = site.wait_for_status(
        "the refusal", lambda s: any(d["code"] == "ReadOnly" for d in s["statusDetails"])
    )
    assert status["uploads"]["waiting"] == 1

    parent.write_twin(READ_WRITE)
    parent.wait_for_status("ReadWrite", lambda s: s["mode"]["value"] == "ReadWrite")
    site.command("sync", expect={0, 1})
    wait_until("the image at the top", lambda: arrived(top.url, "team/app", "1.0", app))
