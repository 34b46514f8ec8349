from __future__ import annotations

from typing import Any

import pytest

from connected_registry.endpoint.origin import Origin, Origins
from connected_registry.errors import ConfigurationError, HostRefused, RequestInvalid


def scope(
    *headers: tuple[str, str], client: str = "192.0.2.7", version: str = "1.1"
) -> dict[str, Any]:
    """The part of an ASGI scope that is looked at."""
    return {
        "type": "http",
        "http_version": version,
        "scheme": "http",
        "client": (client, 5000),
        "server": ("127.0.0.1", 8080),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }


FORWARDED = (
    ("host", "module:8080"),
    ("x-forwarded-host", "edge.example:8000"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-for", "203.0.113.9, 198.51.100.4, 10.0.0.2"),
)


def test_the_host_header_names_the_origin() -> None:
    """Scheme, host and port are the client's own."""
    origin = Origins().of(scope(("host", "edge.example:5000")))

    assert origin.url("/v2/") == "http://edge.example:5000/v2/"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.com/path",
        "user@evil.com",
        "evil .com",
        "evil.com:",
        "evil.com:99999999",
        'a"b',
        "a,b",
        "-a",
    ],
)
def test_a_malformed_host_is_refused(host: str) -> None:
    """Nothing that could break out of a header or an address gets through."""
    with pytest.raises(RequestInvalid):
        Origins().of(scope(("host", host)))


def test_a_host_is_given_exactly_once() -> None:
    """None or two are refused, except that HTTP/1.0 knows no such header."""
    for headers in ((), (("host", "a"), ("host", "b"))):
        with pytest.raises(RequestInvalid):
            Origins().of(scope(*headers))

    assert Origins().of(scope(version="1.0")).host == "127.0.0.1:8080"


@pytest.mark.parametrize("host", ["edge.example", "EDGE.example:5000", "[::1]:5000", "10.0.0.1"])
def test_usual_hosts_are_taken(host: str) -> None:
    """Names, addresses, ports, any case."""
    assert Origins().of(scope(("host", host))).host == host


def test_only_the_login_server_is_answered_where_it_is_set() -> None:
    """With and without a port; another name is refused, but not to health probes."""
    origins = Origins("edge.example")

    assert origins.of(scope(("host", "Edge.Example:5000"))).host == "Edge.Example:5000"
    with pytest.raises(HostRefused):
        origins.of(scope(("host", "evil.example")))
    assert origins.of(scope(("host", "127.0.0.1")), any_host=True).host == "127.0.0.1"


def test_a_login_server_with_a_port_means_that_port() -> None:
    """The name alone, or with another port, is another server."""
    origins = Origins("edge.example:8000")

    assert origins.of(scope(("host", "edge.example:8000")))
    for host in ("edge.example", "edge.example:8001"):
        with pytest.raises(HostRefused):
            origins.of(scope(("host", host)))


def test_forwarded_headers_of_strangers_are_ignored() -> None:
    """Whoever is not a configured proxy speaks for itself only."""
    assert Origins().of(scope(*FORWARDED)) == Origin("http", "module:8080", "192.0.2.7")
    trusting_another = Origins(trusted_proxies=["10.9.0.0/16"])
    assert trusting_another.of(scope(*FORWARDED)).host == "module:8080"


def test_a_configured_proxy_is_believed() -> None:
    """Host, scheme, and the last client that the proxies did not add themselves."""
    origins = Origins(trusted_proxies=["192.0.2.7", "10.0.0.0/8"])

    assert origins.of(scope(*FORWARDED)) == Origin("https", "edge.example:8000", "198.51.100.4")


def test_a_forwarded_host_is_checked_like_any() -> None:
    """A proxy passes on what clients send."""
    origins = Origins(trusted_proxies=["192.0.2.7"])
    with pytest.raises(RequestInvalid):
        origins.of(scope(("host", "a"), ("x-forwarded-host", "a/b")))


@pytest.mark.parametrize(
    ("client", "local"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False)]
)
def test_loopback_clients_are_known(client: str, local: bool) -> None:
    """By their address."""
    assert Origins().of(scope(("host", "a"), client=client)).is_loopback is local


def test_bad_settings_are_named() -> None:
    """The error says which setting is wrong."""
    with pytest.raises(ConfigurationError, match="ACR_REGISTRY_LOGIN_SERVER"):
        Origins("https://edge.example")
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        Origins(trusted_proxies=["proxy"])
