"""Debian's mosquitto in the place of the hub's MQTT endpoint: an independent check of the client.

``$iothub`` topics carry no identity, so a broker serves one module. A backend on a second listener
answers with the local hub's own logic. The broker checks no tokens and keeps no sessions over a
restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from paho.mqtt import client as mqtt

from local_hub.authority import Authority
from local_hub.module import DESIRED, METHODS, TWIN_ANSWERS, Module
from peers.programs import require_program

FROM_MODULE = (
    "devices/#",
    "$iothub/twin/GET/#",
    "$iothub/twin/PATCH/properties/reported/#",
    "$iothub/methods/res/#",
)


class Mosquitto:
    """One broker for one module; `kill` and `start` it as you like."""

    def __init__(self, module: Module, authority: Authority, address: str, folder: Path) -> None:
        self.module = module
        with socket.create_server(("127.0.0.1", 0)) as spare:
            self._backend_port: int = spare.getsockname()[1]
        issued = authority.issue(address)
        (folder / "broker.pem").write_text(issued.chain)
        (folder / "broker.key").write_text(issued.key)
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(
            "persistence false\nallow_anonymous true\nuser root\nlog_dest none\n"
            "set_tcp_nodelay true\n"
            f"listener 8883 {address}\n"
            f"certfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n"
            f"listener {self._backend_port} 127.0.0.1\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._backend: mqtt.Client | None = None
        self._gone = asyncio.Event()

    async def start(self) -> None:
        """Start the broker; return when the backend is subscribed."""
        self._process = subprocess.Popen(
            [require_program("mosquitto"), "-c", str(self._configuration)]
        )
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        backend = mqtt.Client("backend")

        def connected(client: mqtt.Client, *_: object) -> None:
            client.subscribe([(topic, 1) for topic in FROM_MODULE])

        def subscribed(*_: object) -> None:
            loop.call_soon_threadsafe(lambda: ready.done() or ready.set_result(None))

        def received(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
            loop.call_soon_threadsafe(self._receive, message.topic, message.payload)

        def disconnected(*_: object) -> None:
            loop.call_soon_threadsafe(self._gone.set)

        backend.on_connect, backend.on_subscribe = connected, subscribed
        backend.on_message, backend.on_disconnect = received, disconnected
        backend.reconnect_delay_set(3600, 3600)
        self._gone.clear()
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(backend.connect, "127.0.0.1", self._backend_port)
                    break
                await asyncio.sleep(0.02)
            backend.loop_start()
            await ready
        self._backend = backend
        # The backend cannot see who subscribed to what.
        self.module.attach(self, clean_session=True)
        self.module.subscriptions |= {DESIRED: 1, METHODS: 1, TWIN_ANSWERS: 1}

    async def kill(self) -> None:
        """End the broker with SIGKILL, and its sessions with it."""
        process, self._process = self._process, None
        backend, self._backend = self._backend, None
        if process is None:
            return
        process.kill()
        await asyncio.to_thread(process.wait)
        if backend is not None:
            # What the broker had acknowledged may still be on its way.
            await self._gone.wait()
            await asyncio.to_thread(backend.loop_stop)
        self.module.detach(self)

    def suspend(self) -> None:
        """Stop the broker where it is: connections stay open and silent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message to the module."""
        if self._backend is not None:
            self._backend.publish(topic, payload, qos=1)

    def abort(self) -> None:
        """Nothing: a backend cannot end a module's connection."""

    def _receive(self, topic: str, payload: bytes) -> None:
        answer = self.module.receive(topic, payload)
        if answer is not None:
            self.publish(*answer)


@contextlib.asynccontextmanager
async def mosquitto(
    module: Module, authority: Authority, address: str, folder: Path
) -> AsyncIterator[Mosquitto]:
    """A running broker on port 8883 of ``address``."""
    broker = Mosquitto(module, authority, address, folder)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.kill()
