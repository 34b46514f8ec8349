"""A replica in use collects, verifies, repairs, purges and is backed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from peers.distribution import Distribution
from peers.images import Image, make_image
from system.conftest import ReplicaFactory
from system.replica import Replica

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def scope(*names: str, **more: Any) -> dict[str, Any]:
    """Desired properties for some repositories."""
    return {"scope": {"repositories": [{"name": name} for name in names]}, **more}


def layer(image: Image) -> tuple[str, bytes]:
    """Digest and bytes of the largest blob."""
    digest, blob = max(image.all_blobs().items(), key=lambda item: item[1].size)
    return digest, blob.data


def get(replica: Replica, path: str) -> httpx.Response:
    """Ask it."""
    return httpx.get(f"{replica.url}{path}", trust_env=False)


def stored(replica: Replica, digest: str) -> Path:
    """The file of a digest."""
    return replica.data / "blobs" / Path(*digest.split(":"))


def test_damage_is_found_repaired_and_told(
    distribution: Distribution, new_replica: ReplicaFactory
) -> None:
    """By command, and by itself where a pull comes upon it; wrong bytes are never served."""
    name = "upkeep/rot"
    image = distribution.push(make_image(name, size=300_000), name, "latest")
    digest, content = layer(image)
    replica = new_replica(scope(name), parent=distribution.address)
    replica.sync()
    file = stored(replica, digest)

    file.write_bytes(content[:1000] + b"!" + content[1001:])
    task = replica.command("verify", expect=1)
    assert (task["result"]["damaged"], task["result"]["repaired"]) == (1, 0)
    answer = get(replica, f"/v2/{name}/blobs/{digest}")
    assert answer.status_code == 503 or answer.content == content

    replica.command("verify", "--repair")
    replica.wait_for_status(
        "nothing is damaged any more",
        lambda status: (
            not any(each["code"] == "IntegrityFailure" for each in status.get("statusDetails", ()))
        ),
    )
    assert get(replica, f"/v2/{name}/blobs/{digest}").content == content

    file.write_bytes(b"cut")
    assert get(replica, f"/v2/{name}/blobs/{digest}").status_code == 503
    replica.wait_for_status(
        "a pull brought the damage to light and it was repaired",
        lambda _: file.exists() and file.read_bytes() == content,
    )
    assert get(replica, f"/v2/{name}/blobs/{digest}").content == content


def test_what_is_out_of_scope_can_be_purged_and_what_is_in_it_cannot(
    distribution: Distribution, new_replica: ReplicaFactory
) -> None:
    """The bytes are free after the collection at the latest."""
    gone, kept = "upkeep/gone", "upkeep/kept"
    for name in (gone, kept):
        distribution.push(make_image(name), name, "latest")
    replica = new_replica(scope(gone, kept), parent=distribution.address)
    replica.sync()
    task = replica.command("purge", kept, "latest", expect=5)
    assert "in the scope" in task["result"]["error"]
    replica.write_twin(scope(kept))
    replica.wait_for_status(
        "the scope is the new one",
        lambda status: "upkeep/gone" not in str(status.get("scope", {}).get("value")),
    )
    if replica.digest(gone, "latest") is not None:
        task = replica.command("purge", gone)
        assert task["result"]["manifests"] == 1
    assert replica.digest(gone, "latest") is None
    assert replica.digest(kept, "latest") is not None
    dry = replica.command("gc", "--dry-run")["result"]
    assert dry["kept"]["tagged"] == 1
    assert replica.command("gc")["result"]["manifests"] == 0


def test_images_that_do_not_fit_are_told_and_the_others_come(
    distribution: Distribution, new_replica: ReplicaFactory
) -> None:
    """A larger quota is all it takes."""
    names = ["upkeep/small", "upkeep/large"]
    for name, size in zip(names, (50_000, 900_000), strict=True):
        distribution.push(make_image(name, size=size), name, "latest")
    storage = {"quotaBytes": 500_000, "reserveBytes": 0}
    replica = new_replica(scope(*names, storage=storage), parent=distribution.address)
    result = replica.sync(expect=1)
    assert result["stopped"] == "disk"
    assert replica.digest(names[0], "latest") is not None
    assert replica.digest(names[1], "latest") is None
    reason = replica.command("explain", f"{names[1]}:latest", expect=1)
    assert reason["reason"] == "disk"
    replica.write_twin(scope(*names, storage={"quotaBytes": 5_000_000, "reserveBytes": 0}))
    replica.wait_for_status("all is here", lambda _: replica.digest(names[1], "latest"))


def test_a_backup_made_in_use_can_be_restored_and_a_lost_database_rebuilt(
    distribution: Distribution, new_replica: ReplicaFactory, tmp_path: Path
) -> None:
    """Either way the images are served again, with the parent away."""
    name = "upkeep/backup"
    image = distribution.push(make_image(name), name, "latest")
    replica = new_replica(scope(name), parent=distribution.address)
    replica.sync()
    copied = replica.command("backup", str(tmp_path / "backup"))
    assert copied["damaged"] == 0
    replica.stop()

    restored = Replica(tmp_path / "restored", scope())
    restored.data.rmdir()
    restored.command("restore", str(tmp_path / "backup"))
    with restored:
        assert restored.digest(name, "latest") == image.digest

    database = replica.data / "replica" / "registry.db"
    assert replica.command("repair")["sound"]
    database.write_bytes(b"rubbish" * 1000)
    assert not replica.command("repair", expect=1)["sound"]
    assert replica.command("repair", "--rebuild")["tags"] == 1
    with replica:
        assert replica.digest(name, "latest") == image.digest
