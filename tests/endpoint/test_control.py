from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connected_registry.endpoint.control import MAX_PAYLOAD, create_control
from connected_registry.endpoint.server import serve_config
from endpoint.serving import running


async def invoke(name: str, payload: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Repeats what it was asked."""
    return (200 if name == "ping" else 404), {"name": name, "payload": payload}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A served control socket."""
    path = tmp_path_factory.mktemp("control") / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with running(serve_config(create_control(invoke), uds=path), listener):
            yield path


@pytest.fixture
def client(control: Path) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(control)), base_url="http://replica"
    ) as client:
        yield client


@pytest.mark.parametrize(("name", "status"), [("ping", 200), ("other", 404)])
def test_a_method_is_called_and_its_answer_passed_on(
    client: httpx.Client, name: str, status: int
) -> None:
    """The method's own status is in the body."""
    answer = client.post(f"/methods/{name}", json={"key": "ä"})

    assert answer.status_code == 200
    assert answer.json() == {
        "status": status,
        "body": {"name": name, "payload": {"key": "ä"}},
    }


def test_no_payload_is_an_empty_one(client: httpx.Client) -> None:
    """Most methods take none."""
    assert client.post("/methods/ping").json()["body"]["payload"] == {}


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'"' + b"x" * MAX_PAYLOAD + b'"',
        b'{"a":' * 9999,
    ],
)
def test_a_payload_that_is_no_object_is_refused(client: httpx.Client, content: bytes) -> None:
    """In a sentence, and the server lives."""
    answer = client.post("/methods/ping", content=content)

    assert answer.status_code == 400
    assert "payload" in answer.json()["errors"][0]["message"]
    assert client.post("/methods/ping").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 404),
        ("GET", "/methods/ping", 405),
        ("POST", "/methods/", 404),
        ("POST", "/methods/a/b", 404),
        ("POST", "/v2/", 404),
    ],
)
def test_there_is_nothing_else(client: httpx.Client, method: str, path: str, status: int) -> None:
    """The registry's own addresses are not here."""
    assert client.request(method, path).status_code == status
