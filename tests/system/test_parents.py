"""Parents of each kind: open, Basic, Bearer, and another replica of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peers.distribution import Distribution
from peers.images import make_artifact, make_platforms, push
from peers.token_server import TokenServer
from system.conftest import ReplicaFactory

pytestmark = pytest.mark.system

DESIRED: dict[str, Any] = {
    "scope": {"repositories": [{"name": "team/app"}]},
    "sync": {"schedule": "0 0 29 2 *"},
}
USER = {"CONNECTED_REGISTRY_PARENT_USERNAME": "ada", "CONNECTED_REGISTRY_PARENT_PASSWORD": "lace"}


def test_basic_parent(tmp_path: Path, new_replica: ReplicaFactory) -> None:
    """A parent with htpasswd is read with user and password."""
    with Distribution(tmp_path / "parent", htpasswd={"ada": "lace"}) as parent:
        app = parent.push(make_platforms("basic"), "team/app", "1")
        replica = new_replica(DESIRED, parent=parent.address, environment=USER)

        replica.sync()

        assert replica.digest("team/app", "1") == app.digest


def test_wrong_password_is_told(tmp_path: Path, new_replica: ReplicaFactory) -> None:
    """A refused password ends the sync with a reason that says so, and without the password."""
    with Distribution(tmp_path / "parent", htpasswd={"ada": "lace"}) as parent:
        parent.push(make_platforms("basic"), "team/app", "1")
        wrong = {**USER, "CONNECTED_REGISTRY_PARENT_PASSWORD": "not-the-word"}
        replica = new_replica(DESIRED, parent=parent.address, environment=wrong)

        task = replica.command("sync", expect=1)
        status = replica.status()

        assert task["result"]["state"] != "Succeeded"
        assert "not-the-word" not in f"{task}{status}{replica.log.read_text()}"
        assert "unauthorized" in f"{task}{status}".lower()


@pytest.mark.parametrize("form", ["get", "post"])
def test_token_parent(tmp_path: Path, new_replica: ReplicaFactory, form: str) -> None:
    """A parent with a token server is read, by either form of asking for a token."""
    tokens = TokenServer(tmp_path, users={"ada": "lace"}, get=form == "get", post=form == "post")
    with tokens, Distribution(tmp_path / "parent", tokens=tokens) as parent:
        app = parent.push(make_platforms("token"), "team/app", "1")
        trusted = {**USER, "CONNECTED_REGISTRY_PARENT_REALM_HOSTS": tokens.address}
        replica = new_replica(DESIRED, parent=parent.address, environment=trusted)

        replica.sync()

        assert replica.digest("team/app", "1") == app.digest


def test_credentials_do_not_follow_a_foreign_realm(
    tmp_path: Path, new_replica: ReplicaFactory
) -> None:
    """A token server that was not named never sees the password."""
    tokens = TokenServer(tmp_path, users={"ada": "lace"})
    with tokens, Distribution(tmp_path / "parent", tokens=tokens) as parent:
        parent.push(make_platforms("token"), "team/app", "1")
        replica = new_replica(DESIRED, parent=parent.address, environment=USER)

        replica.command("sync", expect=1)

        assert replica.digest("team/app", "1") is None
        assert all(asked.username is None for asked in tokens.asked)
        assert all("authorization" not in asked.headers for asked in tokens.asked)


def test_anonymous_token_parent(tmp_path: Path, new_replica: ReplicaFactory) -> None:
    """As with Docker Hub, a token is had without a name from a host of its own."""
    tokens = TokenServer(tmp_path, anonymous=("repository:team/app:pull",))
    with tokens, Distribution(tmp_path / "parent", tokens=tokens) as parent:
        app = parent.push(make_platforms("anonymous"), "team/app", "1")
        replica = new_replica(DESIRED, parent=parent.address)

        replica.sync()

        assert replica.digest("team/app", "1") == app.digest


def test_replica_of_a_replica(new_replica: ReplicaFactory, tmp_path: Path) -> None:
    """A replica is a parent as good as any: images and their referrers come down two steps."""
    top = new_replica({"mode": "ReadWrite"})
    app = push(make_platforms("chain"), top.url, "team/app", "1")
    artifact = push(make_artifact(app), top.url, "team/app")
    middle = new_replica(DESIRED, parent=top.listen)
    middle.sync()
    bottom = new_replica(DESIRED, parent=middle.listen)
    bottom.sync()

    assert bottom.digest("team/app", "1") == app.digest
    assert bottom.digest("team/app", artifact.digest) == artifact.digest
