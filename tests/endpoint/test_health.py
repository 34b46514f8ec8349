from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from endpoint.people import rules, token
from endpoint.serving import Site, serve

SICK = {"healthy": False, "jobs": {"sync": {"state": "failed", "error": "no route"}}}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_is_200_or_503(site: Site, client: httpx.Client, method: str) -> None:
    """With what the jobs do, for whoever asks on this machine."""
    assert client.request(method, "/healthz").status_code == 200
    site.health = SICK
    answer = client.request(method, "/healthz")

    assert answer.status_code == 503
    if method == "GET":
        assert answer.json() == SICK


def test_strangers_learn_only_whether(tmp_path: Path) -> None:
    """What is wrong is told to whoever has logged in."""
    people = rules(token("ann", "none"))
    with (
        serve(tmp_path / "data", people, trusted_proxies=("127.0.0.1",)) as site,
        site.client(headers={"X-Forwarded-For": "192.0.2.9"}) as client,
    ):
        site.health = SICK
        assert client.get("/healthz").json() == {"healthy": False}
        assert client.get("/healthz", auth=("ann", "ann-secret")).json() == SICK
        assert client.get("/healthz", auth=("ann", "wrong")).status_code == 401
