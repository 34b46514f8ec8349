from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import trustme

from connected_registry.endpoint.connection import MAX_HEAD, http_protocol
from connected_registry.endpoint.connection_httptools import HttptoolsConnection
from connected_registry.endpoint.control import create_control
from connected_registry.endpoint.server import serve_config
from endpoint.serving import bound, running


async def invoke(_: str, __: dict[str, object]) -> tuple[int, dict[str, object]]:
    """Answers nothing."""
    return 200, {}


def test_idle_connections_outlive_the_patience_of_clients() -> None:
    """Clients hold theirs for up to two minutes; the rest is what registries need."""
    config = serve_config(create_control(invoke))

    assert config.timeout_keep_alive >= 120
    assert not any((config.server_header, config.proxy_headers, config.access_log))
    assert config.date_header
    assert config.log_config is None
    assert config.h11_max_incomplete_event_size == MAX_HEAD


def test_the_faster_protocol_is_taken_where_it_is() -> None:
    """On this machine it is."""
    assert http_protocol() is HttptoolsConnection


def test_tls_uses_the_context_it_was_given(tmp_path: Path) -> None:
    """Whose owner may load another certificate while it is in use."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with bound() as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with running(serve_config(create_control(invoke), tls=context), listener):
            answer = httpx.post(f"{url}/methods/x", verify=trusting, trust_env=False)
            assert answer.json() == {"status": 200, "body": {}}
