"""How the hub is reached: MQTT straight, through websockets, or through a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from connected_registry.connection_string import without_password
from connected_registry.errors import ConfigurationError

PROXY: Final = "CONNECTED_REGISTRY_HUB_PROXY"
WEBSOCKETS: Final = "CONNECTED_REGISTRY_HUB_WEBSOCKETS"

ProxyKind = Literal["HTTP", "SOCKS4", "SOCKS5"]
_KINDS: Final[dict[str, tuple[ProxyKind, int]]] = {
    "http": ("HTTP", 8080),
    "socks4": ("SOCKS4", 1080),
    "socks5": ("SOCKS5", 1080),
}
_YES: Final = {"1", "true", "yes", "on"}
_NO: Final = {"", "0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class HubProxy:
    """A proxy that connections to the hub go through."""

    kind: ProxyKind
    host: str
    port: int
    user: str | None = None
    password: SecretStr | None = None

    @classmethod
    def parse(cls, key: str, text: str) -> HubProxy:
        """From ``http://``, ``socks4://`` or ``socks5://[user:password@]host[:port]``."""
        shown = without_password(text)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ConfigurationError(key, shown, "the port must lie below 65536") from None
        if parts.scheme not in _KINDS or not parts.hostname or parts.path.strip("/"):
            raise ConfigurationError(
                key, shown, "write http://host:port, socks4://host:port or socks5://host:port"
            )
        kind, default = _KINDS[parts.scheme]
        return cls(
            kind=kind,
            host=parts.hostname,
            port=port or default,
            user=unquote(parts.username) if parts.username else None,
            password=SecretStr(unquote(parts.password)) if parts.password else None,
        )


@dataclass(frozen=True, slots=True)
class HubRoute:
    """Port 8883 (MQTT) or 443 (websockets) of the server, straight or through a proxy."""

    websockets: bool = False
    proxy: HubProxy | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> HubRoute:
        """Raise `ConfigurationError` naming the variable."""
        websockets = environ.get(WEBSOCKETS, "").strip().lower()
        if websockets not in _YES | _NO:
            raise ConfigurationError(WEBSOCKETS, websockets, "write true or false")
        proxy = environ.get(PROXY, "").strip()
        return cls(websockets in _YES, HubProxy.parse(PROXY, proxy) if proxy else None)

    @property
    def port(self) -> int:
        """Fixed in the SDK."""
        return 443 if self.websockets else 8883
