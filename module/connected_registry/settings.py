"""Settings from the environment: the names of Microsoft's connected registry, and ours.

This is the only place that reads the environment. What changes while the replica runs belongs in
the twin (`connected_registry.edge.twin`).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from connected_registry.connection_string import (
    CONNECTION_STRING,
    HIDDEN,
    ConnectionString,
    ListenAddress,
    Protocol,
    parse_host,
    parse_parent,
    without_password,
)
from connected_registry.errors import ConfigurationError

__all__ = ["ConnectionString", "ListenAddress", "ParentSettings", "Settings", "settings_rows"]

PREFIX: Final = "CONNECTED_REGISTRY_"
_HUB_VARIABLES: Final = ("IOTEDGE_", "EdgeHub", "EdgeModule", f"{PREFIX}HUB_")


@dataclass(frozen=True, slots=True)
class ParentSettings:
    """The parent that the environment names, before the twin's ``parent`` is laid over it."""

    host: str
    protocol: Protocol = "https"
    username: str | None = None
    password: SecretStr | None = None
    realm_hosts: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: SecretStr | None = None


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list written with commas."""


def _ours(name: str, default: Any, meaning: str) -> Any:
    return Field(default, validation_alias=f"{PREFIX}{name}", description=meaning)


def _original(name: str, default: Any, meaning: str) -> Any:
    return Field(default, validation_alias=name, description=meaning)


class Settings(BaseSettings):
    """Everything the environment says. Made by `Settings.load`, which checks it as a whole."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, populate_by_name=True, extra="ignore"
    )

    connection_string: SecretStr | None = _original(
        CONNECTION_STRING,
        None,
        "the original's connection string: parent, protocol, sync token and its password",
    )
    login_server: str | None = _original(
        "ACR_REGISTRY_LOGIN_SERVER",
        None,
        "`host[:port]` under which clients reach this replica; when set, other hosts are refused",
    )
    data: Path = _original(
        "ACR_REGISTRY_DATA_VOLUME", Path("/var/acr/data"), "folder that holds everything stored"
    )
    certificates: Path = _original(
        "ACR_REGISTRY_CERTIFICATE_VOLUME",
        Path("/var/acr/certs"),
        "folder with the TLS certificate and key of the endpoint",
    )
    parent_gateway_endpoint: str | None = _original(
        "ACR_PARENT_GATEWAY_ENDPOINT",
        None,
        "`host[:port]` in place of the connection string's `ParentGatewayEndpoint`",
    )
    tls: Literal["auto", "off", "folder", "workload"] = _ours(
        "TLS",
        "auto",
        "where the endpoint's certificate comes from: `folder`, IoT Edge's `workload` API, or `off`"
        " for plain HTTP; `auto` takes the folder when it holds one",
    )
    tls_host: str | None = _ours(
        "TLS_HOST",
        None,
        "host name that a certificate of the workload API is for; default: the login server's",
    )
    listen: str = _ours("LISTEN", "0.0.0.0:8080", "`host:port` that the endpoint listens on")
    twin: Path | None = _ours(
        "TWIN", None, "file with the desired properties, watched for changes; used without a hub"
    )
    reported: Path | None = _ours("REPORTED", None, "file that receives the reported properties")
    parent_host: str | None = _ours(
        "PARENT", None, "`host[:port]` of the parent registry, without a connection string"
    )
    parent_protocol: Protocol = _ours("PARENT_PROTOCOL", "https", "`https` or `http`")
    parent_username: str | None = _ours("PARENT_USERNAME", None, "user or token name at the parent")
    parent_password: SecretStr | None = _ours("PARENT_PASSWORD", None, "its password")
    parent_password_file: Path | None = _ours(
        "PARENT_PASSWORD_FILE", None, "file with the password, such as a mounted secret"
    )
    parent_ca_file: Path | None = _ours(
        "PARENT_CA_FILE", None, "PEM file with the authorities that the parent's TLS is checked by"
    )
    parent_realm_hosts: Words = _ours(
        "PARENT_REALM_HOSTS",
        (),
        "hosts besides the parent that may receive its credentials as token servers, by commas",
    )
    proxy: SecretStr | None = _ours("PROXY", None, "`http://host:port` of a proxy to the parent")
    trusted_proxies: Words = _ours(
        "TRUSTED_PROXIES",
        (),
        "addresses or networks whose `X-Forwarded-*` headers are believed, by commas",
    )
    sparse_pushes: Literal["refuse", "accept"] = _ours(
        "SPARSE_PUSHES",
        "refuse",
        "`accept` lets ReadWrite clients push images that name layers they did not push",
    )
    metrics_listen: str | None = _ours(
        "METRICS_LISTEN", None, "`host:port` of the Prometheus page; the container sets port 9600"
    )
    log_format: Literal["auto", "edge", "plain"] = _ours(
        "LOG_FORMAT",
        "auto",
        "`edge` for IoT Edge's line form, `plain` for people, `auto` by the terminal",
    )

    hub_connection_string: SecretStr | None = _ours(
        "HUB_CONNECTION_STRING", None, "a module's connection string, for a hub without IoT Edge"
    )
    hub_ca_file: Path | None = _ours(
        "HUB_CA_FILE", None, "PEM file with the authorities that the hub's TLS is checked by"
    )
    hub_websockets: str | None = _ours(
        "HUB_WEBSOCKETS", None, "`true`: reach the hub by websockets on port 443"
    )
    hub_proxy: SecretStr | None = _ours(
        "HUB_PROXY", None, "`http://`, `socks4://` or `socks5://` proxy to the hub"
    )
    edge_hub_connection_string: SecretStr | None = _original(
        "EdgeHubConnectionString", None, "set by the IoT Edge simulator: the module's identity"
    )
    edge_hub_ca_file: Path | None = _original(
        "EdgeModuleCACertificateFile", None, "set by the IoT Edge simulator: its authorities"
    )
    workload_uri: str | None = _original(
        "IOTEDGE_WORKLOADURI", None, "set by IoT Edge: where identities and certificates come from"
    )
    workload_api_version: str | None = _original(
        "IOTEDGE_APIVERSION", None, "set by IoT Edge: version of the workload API"
    )
    hub_host: str | None = _original("IOTEDGE_IOTHUBHOSTNAME", None, "set by IoT Edge: the hub")
    gateway_host: str | None = _original(
        "IOTEDGE_GATEWAYHOSTNAME", None, "set by IoT Edge: the device's own name"
    )
    edge_parent_host: str | None = _original(
        "IOTEDGE_PARENTHOSTNAME", None, "set by IoT Edge on a nested device: the device above"
    )
    device_id: str | None = _original("IOTEDGE_DEVICEID", None, "set by IoT Edge: the device")
    module_id: str | None = _original("IOTEDGE_MODULEID", None, "set by IoT Edge: the module")
    module_generation: str | None = _original(
        "IOTEDGE_MODULEGENERATIONID", None, "set by IoT Edge: the module's generation"
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; ``overrides`` (by field name) come from the command line.

        Raises `ConfigurationError` naming the variable. What is odd but harmless is in `warnings`.
        """
        given = {key: value for key, value in overrides.items() if value is not None}
        try:
            settings = cls(**given)
        except ValidationError as error:
            raise _translated(cls, error) from None
        settings._check()
        return settings

    @property
    def listen_address(self) -> ListenAddress:
        """`listen`, parsed."""
        return ListenAddress.parse(f"{PREFIX}LISTEN", self.listen)

    @property
    def metrics_address(self) -> ListenAddress | None:
        """`metrics_listen`, parsed."""
        if self.metrics_listen is None:
            return None
        return ListenAddress.parse(f"{PREFIX}METRICS_LISTEN", self.metrics_listen)

    @property
    def hub_environment(self) -> Mapping[str, str]:
        """What the hub's identity, route and workload API are read from, by variable name."""
        found: dict[str, str] = {}
        for name, info in type(self).model_fields.items():
            variable = str(info.validation_alias)
            value = getattr(self, name)
            if value is not None and variable.startswith(_HUB_VARIABLES):
                secret = isinstance(value, SecretStr)
                found[variable] = value.get_secret_value() if secret else str(value)
        return found

    @property
    def connection(self) -> ConnectionString | None:
        """The connection string, parsed and with the endpoint override laid over it."""
        if self.connection_string is None:
            return None
        return ConnectionString.parse(
            self.connection_string.get_secret_value(),
            os.environ,
            endpoint=self.parent_gateway_endpoint,
        )

    @property
    def parent(self) -> ParentSettings | None:
        """Where to sync from; None when the environment names no parent."""
        connection = self.connection
        if connection is not None:
            host, protocol = connection.parent, connection.protocol
            username: str | None = connection.token_name
            password: SecretStr | None = connection.token_password
        elif self.parent_host is not None:
            host, protocol, _ = parse_parent(
                f"{PREFIX}PARENT", self.parent_host, self.parent_protocol
            )
            username, password = self.parent_username, self._password()
        else:
            return None
        return ParentSettings(
            host=host,
            protocol=protocol,
            username=username,
            password=password,
            realm_hosts=tuple(
                parse_host(f"{PREFIX}PARENT_REALM_HOSTS", each) for each in self.parent_realm_hosts
            ),
            ca_file=self.parent_ca_file,
            proxy=self.proxy,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what was taken differently from how it was written.

        An unknown variable with our prefix is no error: Kubernetes and Docker links add such
        names by themselves for a service called ``connected-registry``.
        """
        known = {row.name for row in settings_rows()}
        found = list(self.connection.warnings) if self.connection else []
        if self.parent_host is not None:
            found += parse_parent(f"{PREFIX}PARENT", self.parent_host, self.parent_protocol)[2]
        for name in sorted(os.environ):
            if name.startswith(PREFIX) and name not in known:
                near = difflib.get_close_matches(name, known, 1, cutoff=0.85)
                hint = f"; did you mean {near[0]}?" if near else ""
                found.append(f"{name} is not a setting and is ignored{hint}")
        return tuple(found)

    def _check(self) -> None:
        """Everything that pydantic cannot see in one field."""
        _ = self.listen_address, self.metrics_address
        if self.connection_string is not None and self.parent_host is not None:
            raise ConfigurationError(
                f"{PREFIX}PARENT",
                self.parent_host,
                f"leave it out while {CONNECTION_STRING} names a parent; to change only its"
                " address use ACR_PARENT_GATEWAY_ENDPOINT",
            )
        if self.connection_string is None and self.parent_gateway_endpoint is not None:
            raise ConfigurationError(
                "ACR_PARENT_GATEWAY_ENDPOINT",
                self.parent_gateway_endpoint,
                f"it changes the parent in {CONNECTION_STRING}, which is not set; use"
                f" {PREFIX}PARENT",
            )
        if self.login_server is not None:
            parse_host("ACR_REGISTRY_LOGIN_SERVER", self.login_server)
        if self.proxy is not None:
            _check_proxy(self.proxy.get_secret_value())
        for each in self.trusted_proxies:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                raise ConfigurationError(
                    f"{PREFIX}TRUSTED_PROXIES", each, "write addresses or networks, 10.0.0.0/8"
                ) from None
        self._check_credentials()
        _ = self.parent

    def _check_credentials(self) -> None:
        given = self.parent_password is not None or self.parent_password_file is not None
        if self.parent_password is not None and self.parent_password_file is not None:
            raise ConfigurationError(
                f"{PREFIX}PARENT_PASSWORD_FILE",
                str(self.parent_password_file),
                f"set either this or {PREFIX}PARENT_PASSWORD",
            )
        if given and self.parent_username is None:
            raise ConfigurationError(
                f"{PREFIX}PARENT_USERNAME", "", "name the user that the password belongs to"
            )
        if self.parent_username is not None and not given:
            raise ConfigurationError(
                f"{PREFIX}PARENT_USERNAME",
                self.parent_username,
                f"set {PREFIX}PARENT_PASSWORD or {PREFIX}PARENT_PASSWORD_FILE with it",
            )

    def _password(self) -> SecretStr | None:
        if self.parent_password_file is None:
            return self.parent_password
        key = f"{PREFIX}PARENT_PASSWORD_FILE"
        try:
            text = self.parent_password_file.read_text(encoding="utf-8-sig").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigurationError(
                key, str(self.parent_password_file), f"the file cannot be read: {reason}"
            ) from None
        if not text:
            raise ConfigurationError(key, str(self.parent_password_file), "the file is empty")
        return SecretStr(text)


def _check_proxy(text: str) -> None:
    key = f"{PREFIX}PROXY"
    remedy = "write http://host:port"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigurationError(key, HIDDEN, remedy) from None
    if not usable:
        raise ConfigurationError(key, without_password(text), remedy)


def _translated(model: type[Settings], error: ValidationError) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    for key, info in model.model_fields.items():
        if name in {key, info.validation_alias}:
            name = str(info.validation_alias)
            secret = "SecretStr" in str(info.annotation)
            return ConfigurationError(name, HIDDEN if secret else first["input"], first["msg"])
    return ConfigurationError(name, HIDDEN, first["msg"])


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the README's table of settings."""

    name: str
    default: str
    meaning: str = field(compare=False)


def settings_rows() -> tuple[SettingRow, ...]:
    """Every environment variable with its default and meaning, in the order of the table."""
    return tuple(
        SettingRow(
            str(info.validation_alias),
            "" if info.default in (None, ()) else str(info.default),
            info.description or "",
        )
        for info in Settings.model_fields.values()
    )
