"""Who this module is to the hub: an identity from the environment, and the tokens it signs.

The SDK's own constructors for these environments are not used: they call the workload API without
a time limit on the one thread that all of the SDK shares, and renew tokens in a way that never
recovers from one failure. Signing here keeps both out of it; the SDK is handed a finished token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from connected_registry.connection_string import HIDDEN
from connected_registry.edge.workload import CALL_LIMIT, WorkloadAddress, WorkloadClient
from connected_registry.errors import ConfigurationError, EdgeError

EDGE_HUB_STRING: Final = "EdgeHubConnectionString"
EDGE_HUB_CA: Final = "EdgeModuleCACertificateFile"
OWN_STRING: Final = "CONNECTED_REGISTRY_HUB_CONNECTION_STRING"
OWN_CA: Final = "CONNECTED_REGISTRY_HUB_CA_FILE"
WORKLOAD: Final = "IOTEDGE_WORKLOADURI"

_EDGE_NAMES: Final = (
    "IOTEDGE_IOTHUBHOSTNAME",
    "IOTEDGE_GATEWAYHOSTNAME",
    "IOTEDGE_DEVICEID",
    "IOTEDGE_MODULEID",
    "IOTEDGE_MODULEGENERATIONID",
    "IOTEDGE_APIVERSION",
)
_KEYS: Final = {
    name.lower(): name
    for name in ("HostName", "DeviceId", "ModuleId", "SharedAccessKey", "GatewayHostName")
}
_REQUIRED: Final = ("hostname", "deviceid", "moduleid", "sharedaccesskey")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A shared access signature and when it ends."""

    text: SecretStr
    expires: datetime


@dataclass(frozen=True)
class HubIdentity(ABC):
    """A module of a device at a hub."""

    hub: str
    device: str
    module: str
    gateway: str | None
    """The edgeHub to connect to; None: the hub itself."""

    @property
    def server(self) -> str:
        """The host name that the TLS certificate must have."""
        return self.gateway or self.hub

    async def token(self, expires: datetime) -> AccessToken:
        """A new token that is good until ``expires``; raises `EdgeError`."""
        resource = quote(f"{self.hub}/devices/{self.device}/modules/{self.module}", safe="")
        end = math.ceil(expires.timestamp())
        signature = quote(await self._sign(f"{resource}\n{end}".encode()), safe="")
        return AccessToken(
            SecretStr(f"SharedAccessSignature sr={resource}&sig={signature}&se={end}"), expires
        )

    @abstractmethod
    async def trusted_ca(self) -> str | None:
        """The PEM certificates that the server is checked by; None: the system's. `EdgeError`."""

    @abstractmethod
    async def _sign(self, data: bytes) -> str:
        """HMAC-SHA256 in base64; raises `EdgeError`."""


@dataclass(frozen=True)
class WorkloadIdentity(HubIdentity):
    """What edgeAgent gives a module; key and trust stay with the security daemon."""

    workload: WorkloadClient

    async def trusted_ca(self) -> str:
        """The device's trust bundle."""
        return await self.workload.trust_bundle()

    async def _sign(self, data: bytes) -> str:
        return await self.workload.sign(data)


@dataclass(frozen=True)
class KeyIdentity(HubIdentity):
    """A connection string with the module's own key: the simulator, or no IoT Edge at all."""

    key: SecretStr = field(repr=False)
    ca_file: Path | None = None

    @classmethod
    def parse(cls, name: str, text: str, ca_file: Path | None = None) -> KeyIdentity:
        """Raise `ConfigurationError` naming the key in ``name``; never shows the secret."""
        values = _pairs(name, text)
        for key in _REQUIRED:
            if not values.get(key):
                remedy = f"add {_KEYS[key]}=..."
                if key == "moduleid":
                    remedy += "; a device's or a hub's connection string does not do"
                raise ConfigurationError(f"{name} {_KEYS[key]}", "", remedy)
        try:
            base64.b64decode(values["sharedaccesskey"], validate=True)
        except (binascii.Error, ValueError):
            raise ConfigurationError(
                f"{name} SharedAccessKey", HIDDEN, "the key must be base64"
            ) from None
        return cls(
            hub=values["hostname"],
            device=values["deviceid"],
            module=values["moduleid"],
            gateway=values.get("gatewayhostname"),
            key=SecretStr(values["sharedaccesskey"]),
            ca_file=ca_file,
        )

    async def trusted_ca(self) -> str | None:
        """The file's content as it is now: a renewed authority counts from the next session."""
        if self.ca_file is None:
            return None
        try:
            return self.ca_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise EdgeError(f"{self.ca_file} cannot be read: {error}") from error

    async def _sign(self, data: bytes) -> str:
        key = base64.b64decode(self.key.get_secret_value())
        return base64.b64encode(hmac.new(key, data, hashlib.sha256).digest()).decode()


def find_identity(
    environ: Mapping[str, str], *, workload_limit: timedelta = CALL_LIMIT
) -> HubIdentity | None:
    """The first of IoT Edge's, the simulator's and our own variables that are there.

    None: this replica stands alone. Raises `ConfigurationError` for half an identity: falling
    back silently would leave a module that is deaf and looks well.
    """
    if environ.get(WORKLOAD):
        return _from_edge(environ, workload_limit)
    for string, ca in ((EDGE_HUB_STRING, EDGE_HUB_CA), (OWN_STRING, OWN_CA)):
        if environ.get(string):
            return KeyIdentity.parse(string, environ[string], _ca_file(ca, environ.get(ca)))
    return None


def _from_edge(environ: Mapping[str, str], call_limit: timedelta) -> WorkloadIdentity:
    for name in _EDGE_NAMES:
        if not environ.get(name):
            raise ConfigurationError(
                name, "", f"IoT Edge sets it together with {WORKLOAD}; pass on all of them"
            )
    return WorkloadIdentity(
        hub=environ["IOTEDGE_IOTHUBHOSTNAME"],
        device=environ["IOTEDGE_DEVICEID"],
        module=environ["IOTEDGE_MODULEID"],
        gateway=environ["IOTEDGE_GATEWAYHOSTNAME"],
        workload=WorkloadClient(
            WorkloadAddress.parse(WORKLOAD, environ[WORKLOAD]),
            module=environ["IOTEDGE_MODULEID"],
            generation=environ["IOTEDGE_MODULEGENERATIONID"],
            api_version=environ["IOTEDGE_APIVERSION"],
            call_limit=call_limit,
        ),
    )


def _ca_file(name: str, text: str | None) -> Path | None:
    if not text:
        return None
    path = Path(text)
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            name, text, f"it must be a file with PEM certificates ({error.strerror or error})"
        ) from None
    return path


def _pairs(name: str, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for segment in text.strip().strip("'\"").split(";"):
        if not segment.strip():
            continue
        key, equals, value = segment.partition("=")
        lower = key.strip().lower()
        if not equals or lower not in _KEYS:
            raise ConfigurationError(
                name,
                HIDDEN,
                f"write Key=Value pairs separated by semicolons, with {', '.join(_KEYS.values())}",
            )
        if lower in pairs:
            raise ConfigurationError(f"{name} {_KEYS[lower]}", HIDDEN, "give it once only")
        pairs[lower] = value.strip()
    return pairs
