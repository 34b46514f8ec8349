"""The connection string of Microsoft's connected registry, and the hosts it names."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from pydantic import SecretStr

from connected_registry.errors import ConfigurationError

CONNECTION_STRING: Final = "ACR_REGISTRY_CONNECTION_STRING"
HIDDEN: Final = "(hidden)"
"""What an error shows in place of a secret."""

Protocol = Literal["https", "http"]

_HOST = re.compile(
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DATA_ENDPOINT = re.compile(
    r"(?P<registry>[a-z0-9-]+)\.[a-z0-9-]+\.data\.(?P<cloud>azurecr\.(?:io|cn|us))(?::443)?"
)
_CLOUD = re.compile(r"[a-z0-9-]+\.azurecr\.(?:io|cn|us)(?::\d+)?")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def parse_host(key: str, text: str) -> str:
    """``host`` or ``host:port`` in lower case; `ConfigurationError` names ``key`` otherwise."""
    if "://" in text:
        raise ConfigurationError(
            key, without_password(text), "leave out the protocol; write host or host:port"
        )
    match = _HOST.fullmatch(text)
    if match is None or ".." in text:
        raise ConfigurationError(
            key, without_password(text), "write host or host:port, such as example.azurecr.io"
        )
    if match["port"] and not 1 <= int(match["port"]) <= 65535:
        raise ConfigurationError(key, text, "the port lies between 1 and 65535")
    return text.lower()


def without_password(url: str) -> str:
    """``url`` with everything before an ``@`` left out."""
    scheme, separator, rest = url.rpartition("//")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def parse_parent(key: str, host: str, protocol: Protocol) -> tuple[str, Protocol, tuple[str, ...]]:
    """Host, protocol and warnings of a parent.

    ``<acr>.<region>.data.azurecr.io`` is where the cloud serves layers from: its login server
    answers for the registry. The cloud speaks https only, whatever was asked for.
    """
    parsed = parse_host(key, host)
    if data := _DATA_ENDPOINT.fullmatch(parsed):
        parsed = f"{data['registry']}.{data['cloud']}"
    if protocol == "http" and _CLOUD.fullmatch(parsed):
        return parsed, "https", (f"{key}: http is taken as https, all that {parsed} speaks",)
    return parsed, protocol, ()


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen: an address or name, and a port (0 takes a free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, key: str, text: str) -> Self:
        """From ``host:port``, ``[ipv6]:port`` or ``:port`` (all addresses)."""
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ConfigurationError(key, text, "write host:port, such as 0.0.0.0:8080")
        if (":" in host and not host.startswith("[")) or not re.fullmatch(r"[\w.:%-]*", bare):
            raise ConfigurationError(key, text, "write host:port, or [address]:port for IPv6")
        return cls(bare or "0.0.0.0", int(port))  # noqa: S104 - asked for by the operator

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """The five values that ``az acr connected-registry get-settings`` prints as one string."""

    registry_name: str
    """In lower case: the original compares names without regard to case."""
    token_name: str
    token_password: SecretStr
    parent: str
    """``host[:port]``, with a cloud data endpoint already mapped to its login server."""
    protocol: Protocol
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str], *, endpoint: str | None = None) -> Self:
        """Raise `ConfigurationError` naming the key; secrets are never part of the message.

        ``environ`` resolves ``$NAME`` and ``${NAME}``; ``endpoint`` stands in for
        ``ParentGatewayEndpoint``.
        """
        warnings: list[str] = []
        pairs = _pairs(text, warnings)
        managed = sorted(key for key in pairs if key.startswith("managedidentity"))
        if managed:
            both = any(key.startswith("synctoken") for key in pairs)
            raise ConfigurationError(
                CONNECTION_STRING,
                _MANAGED.get(managed[0], managed[0]),
                "a managed identity and a sync token cannot be mixed; keep the sync token keys only"
                if both
                else "managed identities exist only inside Azure; use SyncTokenName and"
                " SyncTokenPassword",
            )
        values = {key: _expand(key, value, environ) for key, value in pairs.items()}
        if endpoint is not None:
            values["parentgatewayendpoint"] = endpoint
        for key in _REQUIRED:
            if not values.get(key):
                raise ConfigurationError(
                    f"{CONNECTION_STRING} {_KEYS[key]}", "", f"add {_KEYS[key]}=..."
                )
        if "<" in values["parentgatewayendpoint"]:
            raise ConfigurationError(
                f"{CONNECTION_STRING} ParentGatewayEndpoint",
                values["parentgatewayendpoint"],
                "replace the placeholder by the parent's host[:port]",
            )
        protocol = values.get("parentendpointprotocol", "").lower() or "https"
        if protocol not in {"https", "http"}:
            raise ConfigurationError(
                f"{CONNECTION_STRING} ParentEndpointProtocol", protocol, "use https or http"
            )
        parent, spoken, forced = parse_parent(
            f"{CONNECTION_STRING} ParentGatewayEndpoint",
            values["parentgatewayendpoint"],
            "http" if protocol == "http" else "https",
        )
        return cls(
            registry_name=values["connectedregistryname"].lower(),
            token_name=values["synctokenname"],
            token_password=SecretStr(values["synctokenpassword"]),
            parent=parent,
            protocol=spoken,
            warnings=(*warnings, *forced),
        )


_KEYS: Final = {
    name.lower(): name
    for name in (
        "ConnectedRegistryName",
        "SyncTokenName",
        "SyncTokenPassword",
        "ParentGatewayEndpoint",
        "ParentEndpointProtocol",
    )
}
_REQUIRED: Final = tuple(_KEYS)[:4]
_MANAGED: Final = {"managedidentityclientid": "ManagedIdentityClientId"}


def _pairs(text: str, warnings: list[str]) -> dict[str, str]:
    """Lower-cased keys and their values; quotes, byte order mark and line ends trimmed."""
    pairs: dict[str, str] = {}
    for segment in _trimmed(text).split(";"):
        if not segment.strip():
            continue
        key, equals, value = segment.partition("=")
        name = key.strip().lower()
        if not equals or not name:
            raise ConfigurationError(
                CONNECTION_STRING, HIDDEN, "write Key=Value pairs separated by semicolons"
            )
        if name in pairs:
            raise ConfigurationError(
                f"{CONNECTION_STRING} {_KEYS.get(name, key.strip())}", HIDDEN, "give it once only"
            )
        pairs[name] = _trimmed(value)
        if name not in _KEYS and not name.startswith("managedidentity"):
            near = difflib.get_close_matches(name, _KEYS, 1)
            hint = f"; did you mean {_KEYS[near[0]]}?" if near else ""
            warnings.append(f"{CONNECTION_STRING} has a key that is not known and ignored{hint}")
    return pairs


def _trimmed(text: str) -> str:
    text = text.strip("\ufeff \t\r\n")
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text


def _expand(key: str, value: str, environ: Mapping[str, str]) -> str:
    """Resolve ``$NAME``; a password only where it is a reference as a whole and the name is set."""
    if key == "synctokenpassword":
        whole = _VARIABLE.fullmatch(value)
        return environ.get(whole[1] or whole[2], value) if whole else value

    def resolve(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in environ:
            raise ConfigurationError(
                f"{CONNECTION_STRING} {_KEYS.get(key, key)}",
                match[0],
                f"set the environment variable {name} or write the value itself",
            )
        return environ[name]

    return _VARIABLE.sub(resolve, value)
