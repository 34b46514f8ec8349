"""Where the parent is, and which places on the network belong to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import httpx

from connected_registry.errors import ConfigurationError, ParentFailed

DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
"""Names people give for one registry, which answers under the last and asks for tokens of
``auth.docker.io``."""

PORTS: Final = {"http": 80, "https": 443}


def is_own_network(host: str) -> bool:
    """Whether the host is this machine, by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_forbidden_peer(address: str, *, loopback: bool) -> bool:
    """Whether no registry may send us to this IP address.

    Link-local addresses (cloud metadata among them) never; our own machine only when the parent
    itself is there. Private addresses are allowed: private endpoints resolve to them.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return not loopback
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved


@dataclass(frozen=True, slots=True)
class ParentAddress:
    """A registry: ``host[:port]``, how to speak to it, and what else it may ask to be trusted.

    ``realm_hosts`` (``host[:port]``) may receive the credentials as token servers, besides the
    parent itself. ``ca_file`` (PEM) is trusted in addition to the public authorities.
    """

    host: str
    protocol: Literal["https", "http"] = "https"
    realm_hosts: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_host("host", self.host)
        for host in self.realm_hosts:
            _check_host("realmHosts", host)

    @property
    def url(self) -> httpx.URL:
        """The root of the registry."""
        host = "registry-1.docker.io" if self.host in DOCKER_HUB else self.host
        return httpx.URL(f"{self.protocol}://{host}/")

    @property
    def is_local(self) -> bool:
        """Whether the parent is configured to be on this machine."""
        return is_own_network(self.url.host)

    def is_own(self, url: httpx.URL) -> bool:
        """Whether ``url`` has exactly the parent's scheme, host and port."""
        return _place(url) == _place(self.url)

    def trusts_realm(self, url: httpx.URL) -> bool:
        """Whether the credentials may go to a token server at ``url``."""
        if self.protocol == "https" and url.scheme != "https":
            return False
        hosts = (*self.realm_hosts, *(["auth.docker.io"] if self.host in DOCKER_HUB else []))
        places = {_place(httpx.URL(f"{url.scheme}://{host}/")) for host in hosts}
        return self.is_own(url) or _place(url) in places

    def is_configured(self, url: httpx.URL) -> bool:
        """Whether a person named this place, so that any IP address behind it is meant."""
        return self.is_own(url) or self.trusts_realm(url)

    def next_hop(self, current: httpx.URL, location: str | None) -> httpx.URL:
        """The place a redirect leads to; raise `ParentFailed` where we must not follow."""
        if not location:
            raise ParentFailed(f"{shown(current)} redirected without saying where to")
        return self.checked(_joined(current, location), f"{shown(current)} redirected")

    def checked(self, url: httpx.URL, what: str) -> httpx.URL:
        """``url`` if a request may go there without credentials, else raise `ParentFailed`."""
        place = f"{url.scheme}://{shown(url)}"
        if url.scheme not in PORTS or not url.host:
            raise ParentFailed(f"{what} to {url.scheme or 'nowhere'}, which is no web address")
        if self.protocol == "https" and url.scheme != "https":
            raise ParentFailed(f"{what} to {place}, which is not encrypted")
        if url.userinfo:
            raise ParentFailed(f"{what} to {place} with a user name in the address")
        if self.is_configured(url):
            return url
        local_name = is_own_network(url.host) and not self.is_local
        if local_name or is_forbidden_peer(url.host, loopback=self.is_local):
            raise ParentFailed(f"{what} to {place}, an address that registries may not name")
        return url


def shown(url: httpx.URL) -> str:
    """``host[:port]`` for people: printable ASCII without a user name."""
    return url.netloc.decode("ascii", "replace")


def _joined(current: httpx.URL, location: str) -> httpx.URL:
    try:
        return current.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise ParentFailed(f"{shown(current)} named an address that makes no sense") from error


def _place(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or PORTS.get(url.scheme)


def _check_host(key: str, host: str) -> None:
    remedy = "give `host` or `host:port`, without a scheme, path or user name"
    if not host or any(character in host for character in "/\\@?# ") or not host.isprintable():
        raise ConfigurationError(key, host, remedy)
    try:
        url = httpx.URL(f"https://{host}/")
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigurationError(key, host, remedy) from error
    if not url.host:
        raise ConfigurationError(key, host, remedy)
