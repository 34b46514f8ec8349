"""Under which name a client reached us, and from where: all that is believed of such headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

from connected_registry.errors import ConfigurationError, HostRefused, RequestInvalid

_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_ANY_LOCAL: Final = "unix"


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme and ``host[:port]`` as the client sees them, and the client's own address."""

    scheme: str
    host: str
    client: str

    def url(self, path: str) -> str:
        """``path`` as an absolute address on this very origin."""
        return f"{self.scheme}://{self.host}{path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the client is on this machine."""
        return self.client == _ANY_LOCAL or (
            _is_address(self.client) and ip_address(self.client).is_loopback
        )


class Origins:
    """Works out the `Origin` of requests.

    ``login_server`` (``host`` or ``host:port``) restricts the names we answer to. Only peers in
    ``trusted_proxies`` (addresses or networks) may say ``X-Forwarded-Host``, ``-Proto`` and
    ``-For``; everyone else's are ignored.
    """

    def __init__(
        self, login_server: str | None = None, trusted_proxies: Iterable[str] = ()
    ) -> None:
        if login_server is not None and not _HOST.fullmatch(login_server):
            raise ConfigurationError(
                "ACR_REGISTRY_LOGIN_SERVER", login_server, "use host or host:port"
            )
        self._login_server = login_server.lower() if login_server else None
        self._trusted = tuple(_network(text) for text in trusted_proxies)

    @property
    def restricted(self) -> bool:
        """Whether only the login server's name is answered to."""
        return self._login_server is not None

    @property
    def believes_proxies(self) -> bool:
        """Whether what a request means depends on which peer sent it."""
        return bool(self._trusted)

    def of(self, scope: Scope, *, any_host: bool = False) -> Origin:
        """Raises `RequestInvalid` for a missing, repeated or malformed host.

        Raises `HostRefused` for one that is not the login server's, unless ``any_host``.
        """
        host = _only(scope, b"host")
        scheme = str(scope.get("scheme", "http"))
        client = scope["client"][0] if scope.get("client") else _ANY_LOCAL
        if self._trusted and self._trusts(client):
            host = _first(scope, b"x-forwarded-host") or host
            forwarded = (_first(scope, b"x-forwarded-proto") or "").lower()
            scheme = forwarded if forwarded in {"http", "https"} else scheme
            client = self._forwarded_for(scope) or client
        if host is None:
            host = _address_of_server(scope)
        match = _HOST.fullmatch(host)
        if match is None:
            raise RequestInvalid("malformed Host header")
        names = {host.lower(), match["name"].lower()}
        if not (any_host or self._login_server is None or self._login_server in names):
            raise HostRefused(detail={"host": host})
        return Origin(scheme, host, client)

    def _trusts(self, client: str) -> bool:
        if not _is_address(client):
            return False
        address = ip_address(client)
        return any(address in network for network in self._trusted)

    def _forwarded_for(self, scope: Scope) -> str | None:
        """The last address in the list that is not itself a trusted proxy's."""
        for value in reversed(_all(scope, b"x-forwarded-for")):
            for address in reversed([part.strip() for part in value.split(",")]):
                if not _is_address(address):
                    return None
                if not self._trusts(address):
                    return address
        return None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigurationError(
            "CONNECTED_REGISTRY_TRUSTED_PROXIES",
            text,
            "use an address or a network such as 10.0.0.0/8",
        ) from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _only(scope: Scope, name: bytes) -> str | None:
    values = _all(scope, name)
    if len(values) > 1:
        raise RequestInvalid(f"more than one {name.decode()} header")
    return values[0] if values else None


def _first(scope: Scope, name: bytes) -> str | None:
    """The first element of a list header: what the proxy nearest to the client was asked for."""
    values = _all(scope, name)
    return values[0].partition(",")[0].strip() if values else None


def _address_of_server(scope: Scope) -> str:
    """Stands in for the host of an HTTP/1.0 request, which need not name one."""
    server = scope.get("server")
    if scope.get("http_version") != "1.0" or not server:
        raise RequestInvalid("missing Host header")
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    return f"{host}:{server[1]}" if server[1] else host
