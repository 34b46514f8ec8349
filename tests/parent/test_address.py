"""Where requests and credentials may go."""

from __future__ import annotations

import httpx
import pytest

from connected_registry.errors import ConfigurationError, ParentFailed
from connected_registry.parent.address import ParentAddress, is_forbidden_peer

PARENT = ParentAddress("parent.example", realm_hosts=("auth.example", "other.example:8443"))
BLOB = httpx.URL("https://parent.example/v2/app/blobs/x")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "https://parent.example",
        "parent.example/v2",
        "a@b",
        "a b",
        "a?b",
        "a#b",
        "a:b",
        "a\\b",
        ":5000",
    ],
)
def test_refuses_what_is_not_a_host(host: str) -> None:
    """A scheme, path, user name or nonsense in a host is a configuration error that says so."""
    with pytest.raises(ConfigurationError, match="host"):
        ParentAddress(host)


@pytest.mark.parametrize(
    "host", ["parent.example", "parent.example:5000", "10.0.0.1:5000", "[::1]:5000"]
)
def test_takes_names_and_addresses(host: str) -> None:
    """Names, IPv4 and bracketed IPv6 addresses are hosts, with or without a port."""
    assert str(ParentAddress(host, "http").url) == f"http://{host}/"


def test_refuses_a_bad_realm_host() -> None:
    """Realm hosts are held to the same form."""
    with pytest.raises(ConfigurationError, match="realmHosts"):
        ParentAddress("parent.example", realm_hosts=("https://auth.example",))


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://parent.example/x", True),
        ("https://PARENT.example:443/x", True),
        ("https://parent.example:444/x", False),
        ("http://parent.example/x", False),
        ("https://parent.example.evil.example/x", False),
        ("https://sub.parent.example/x", False),
    ],
)
def test_own_origin_is_exact(url: str, own: bool) -> None:
    """Only the same scheme, host and port is the parent."""
    assert PARENT.is_own(httpx.URL(url)) is own


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://parent.example/token", True),
        ("https://auth.example/token", True),
        ("https://auth.example:8443/token", False),
        ("https://other.example:8443/token", True),
        ("https://other.example/token", False),
        ("http://auth.example/token", False),
        ("https://evil.example/token", False),
    ],
)
def test_realm_hosts_are_exact_and_encrypted(url: str, trusted: bool) -> None:
    """Credentials may go to the parent and to the named hosts and ports, over https alone."""
    assert PARENT.trusts_realm(httpx.URL(url)) is trusted


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_knows_docker_hub(name: str) -> None:
    """Docker Hub is one registry with three names and one token server."""
    hub = ParentAddress(name)
    assert str(hub.url) == "https://registry-1.docker.io/"
    assert hub.trusts_realm(httpx.URL("https://auth.docker.io/token"))


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://storage.example/x",
        "ftp://storage.example/x",
        "file:///etc/passwd",
        "https://ada:lace@storage.example/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://0.0.0.0/x",
        "https://[::1",
    ],
)
def test_refuses_dangerous_hops(location: str | None) -> None:
    """An https parent on the network cannot send us to plain, local or metadata addresses."""
    with pytest.raises(ParentFailed):
        PARENT.next_hop(BLOB, location)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other", "https://parent.example/other"),
        ("https://storage.example/x?sig=1", "https://storage.example/x?sig=1"),
        ("//storage.example/x", "https://storage.example/x"),
        ("https://10.1.2.3/x", "https://10.1.2.3/x"),
    ],
)
def test_follows_ordinary_hops(location: str, target: str) -> None:
    """Relative targets, storage hosts and private endpoints are fine."""
    assert str(PARENT.next_hop(BLOB, location)) == target


def test_a_refused_hop_does_not_show_its_query() -> None:
    """The sentence names the host and leaves signatures and passwords out."""
    with pytest.raises(ParentFailed) as caught:
        PARENT.next_hop(BLOB, "http://ada:lace@storage.example/x?sig=secret")
    assert "storage.example" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "lace" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "loopback", "forbidden"),
    [
        ("127.0.0.1", False, True),
        ("127.0.0.1", True, False),
        ("::1", False, True),
        ("169.254.169.254", True, True),
        ("fe80::1%eth0", True, True),
        ("::ffff:127.0.0.1", False, True),
        ("224.0.0.1", True, True),
        ("0.0.0.0", True, True),
        ("10.0.0.1", False, False),
        ("93.184.215.14", False, False),
        ("::ffff:93.184.215.14", False, False),
    ],
)
def test_forbidden_peers(address: str, loopback: bool, forbidden: bool) -> None:
    """Metadata addresses are forbidden always, our own machine unless the parent is there."""
    assert is_forbidden_peer(address, loopback=loopback) is forbidden
