"""The local hub as one object: start it, add modules, break it, ask it."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from local_hub.access_key import AccessKey
from local_hub.authority import Authority
from local_hub.endpoint import Endpoint, bind_loopback
from local_hub.module import Module
from local_hub.service import create_service
from local_hub.state import StateFile
from local_hub.telemetry import Journal
from local_hub.web import WebServer, tcp_listener, unix_listener
from local_hub.workload import API_VERSION, GENERATION, Workload

HOSTNAME: Final = "local-hub.invalid"
"""The hub's name in tokens and user names; nothing ever resolves it."""


class LocalHub:
    """``async with LocalHub(folder) as hub: module = hub.add_module("edge1", "registry")``.

    ``address`` is a loopback address whose port 8883 is free; one is picked where it is None, so
    that several hubs run side by side. ``folder`` keeps the authority, keys and twins.
    """

    def __init__(
        self,
        folder: Path,
        *,
        address: str | None = None,
        service_port: int = 0,
        certificate_life: timedelta = timedelta(days=30),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = Authority.open(folder)
        self.workload = Workload(
            self.authority, self._find_by_name, certificate_life=certificate_life
        )
        self.modules: dict[str, Module] = {}
        self.journal = Journal()
        self.gateway = ""
        self.service_url = ""
        self._address = address
        self._service_port = service_port
        self._state = StateFile(folder)
        self._stack = contextlib.AsyncExitStack()
        self._endpoint: Endpoint | None = None

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            listener = bind_loopback(self._address)
            self.gateway = listener.getsockname()[0]
            tls = self.authority.server_context(self.gateway, "localhost")
            self._endpoint = Endpoint(HOSTNAME, self.find, tls)
            self._endpoint.start(listener)
            stack.push_async_callback(self.stop)
            socket_path = unix_listener(self.folder / "workload.sock")
            await stack.enter_async_context(WebServer(self.workload.app, socket_path))
            service = tcp_listener("127.0.0.1", self._service_port)
            self.service_url = "http://{}:{}".format(*service.getsockname())
            await stack.enter_async_context(WebServer(create_service(self), service))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()
        (self.folder / "workload.sock").unlink(missing_ok=True)
        self.save()

    @property
    def trusted_ca(self) -> Path:
        """The file with the certificate that modules must trust."""
        return self.folder / "ca.pem"

    def add_module(self, device: str, name: str, *, key: AccessKey | None = None) -> Module:
        """A module that may connect; with the twin it had when this folder was last used."""
        module = self._state.load(device, name, journal=self.journal)
        if key is not None:
            module.key = key
        self.modules[module.path] = module
        self.save()
        return module

    def save(self) -> None:
        """Write the twins to the folder."""
        self._state.save(self.modules.values())

    def find(self, path: str) -> Module | None:
        """The module called ``device/module``."""
        return self.modules.get(path)

    def connection_string(self, module: Module) -> str:
        """For `azure-iot-device`, through the gateway's address."""
        return (
            f"HostName={HOSTNAME};DeviceId={module.device};ModuleId={module.name};"
            f"SharedAccessKey={module.key.text};GatewayHostName={self.gateway}"
        )

    def edge_environment(self, module: Module) -> dict[str, str]:
        """What edgeAgent gives a module."""
        return {
            "IOTEDGE_WORKLOADURI": f"unix://{(self.folder / 'workload.sock').resolve()}",
            "IOTEDGE_IOTHUBHOSTNAME": HOSTNAME,
            "IOTEDGE_GATEWAYHOSTNAME": self.gateway,
            "IOTEDGE_DEVICEID": module.device,
            "IOTEDGE_MODULEID": module.name,
            "IOTEDGE_MODULEGENERATIONID": GENERATION,
            "IOTEDGE_APIVERSION": API_VERSION,
            "IOTEDGE_AUTHSCHEME": "sasToken",
        }

    def simulator_environment(self, module: Module) -> dict[str, str]:
        """What the IoT Edge simulator gives a module."""
        return {
            "EdgeHubConnectionString": self.connection_string(module),
            "EdgeModuleCACertificateFile": str(self.trusted_ca.resolve()),
        }

    def drop(self, module: Module) -> None:
        """End the module's connection without a word."""
        if module.link is not None:
            module.link.abort()

    @property
    def stalled(self) -> bool:
        """Whether new connections wait for ever before the TLS handshake."""
        return self._endpoint is not None and self._endpoint.stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        assert self._endpoint is not None
        self._endpoint.stalled = stalled

    async def stop(self) -> None:
        """Close the MQTT endpoint: connections end, new ones are refused."""
        assert self._endpoint is not None
        await self._endpoint.stop()

    def start(self) -> None:
        """Open the MQTT endpoint again, on the same address."""
        assert self._endpoint is not None
        self._endpoint.start(bind_loopback(self.gateway))

    async def restart(self, *, lose_sessions: bool = False) -> None:
        """Stop and start; with ``lose_sessions`` no module is subscribed to anything any more."""
        await self.stop()
        if lose_sessions:
            for module in self.modules.values():
                module.forget_session()
        self.start()

    def _find_by_name(self, name: str) -> Module | None:
        return next((module for module in self.modules.values() if module.name == name), None)
