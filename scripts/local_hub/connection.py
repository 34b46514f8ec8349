"""One MQTT connection, from CONNECT to its end."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

from local_hub.access_key import TokenError
from local_hub.module import DESIRED, METHODS, TWIN_ANSWERS, Module
from local_hub.packet import Connect, Fields, Kind, Packet, ProtocolError, read_packet, text
from local_hub.stream import Stream

CONNECT_LIMIT: Final = 60.0
"""Seconds in which CONNECT must arrive, as at edgeHub."""
MAX_SUBSCRIPTIONS: Final = 5
"""Topic filters taken in one SUBSCRIBE; IoT Hub ends the connection at more."""
REFUSED: Final = 0x80
NOT_AUTHORISED: Final = 5


class Connection:
    """The hub's end of one connection; `serve` runs until it ends."""

    def __init__(
        self,
        stream: Stream,
        hostname: str,
        find: Callable[[str], Module | None],
    ) -> None:
        self._stream = stream
        self._hostname = hostname
        self._find = find
        self._module: Module | None = None
        self._keep_alive = 0.0
        self._token_ends = float("inf")
        self._identifier = 0

    async def serve(self) -> None:
        """Talk until either side ends it, the keep-alive runs out or the token expires."""
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                packet = await read_packet(self._stream.read)
            if packet.kind is not Kind.CONNECT:
                raise ProtocolError(f"{packet.kind.name} before CONNECT")
            if not self._admit(Connect.parse(packet.body)):
                return
            while True:
                async with asyncio.timeout(self._seconds_left()):
                    packet = await read_packet(self._stream.read)
                if packet.kind is Kind.DISCONNECT:
                    return
                self._take(packet)
        except (ProtocolError, TimeoutError, OSError, EOFError, ssl.SSLError) as error:
            if self._module is not None:
                self._module.note("connection failed", str(error) or type(error).__name__)
        finally:
            if self._module is not None:
                self._module.detach(self)
            await self._stream.close()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message, at the quality of service that the module asked for."""
        assert self._module is not None
        level = max(
            (
                quality
                for filter_, quality in self._module.subscriptions.items()
                if topic.startswith(filter_.removesuffix("#"))
            ),
            default=0,
        )
        identifier = b""
        if level:
            self._identifier = self._identifier % 0xFFFF + 1
            identifier = self._identifier.to_bytes(2, "big")
        self._send(Packet(Kind.PUBLISH, level << 1, text(topic) + identifier + payload))

    def abort(self) -> None:
        """End the connection with no word and nothing more sent."""
        self._stream.abort()

    def _send(self, packet: Packet) -> None:
        self._stream.write(packet.encode())

    def _seconds_left(self) -> float:
        quiet = self._keep_alive * 1.5 or float("inf")
        return max(0.0, min(quiet, self._token_ends - time.time(), 1e6))

    def _admit(self, connect: Connect) -> bool:
        module = self._find(connect.client_id)
        code = NOT_AUTHORISED if module is None else self._check(module, connect)
        if module is not None:
            module.note("connect", code)
        if module is None or code:
            self._send(Packet(Kind.CONNACK, body=bytes([0, code])))
            return False
        self._keep_alive = float(connect.keep_alive)
        query = parse_qs(connect.user_name.partition("?")[2])
        module.model_id = query.get("model-id", [None])[0]
        module.user_name = connect.user_name
        known = module.attach(self, clean_session=connect.clean_session)
        self._module = module
        if not module.faults.stall:
            self._send(Packet(Kind.CONNACK, body=bytes([known, 0])))
        return True

    def _check(self, module: Module, connect: Connect) -> int:
        if module.faults.refuse:
            return module.faults.refuse
        if not connect.user_name.lower().startswith(f"{self._hostname}/{module.path}/?".lower()):
            module.note("refused", f"user name {connect.user_name!r}")
            return NOT_AUTHORISED
        resource = f"{self._hostname}/devices/{module.device}/modules/{module.name}"
        try:
            self._token_ends = module.key.check(connect.password, resource, time.time())
        except TokenError as reason:
            module.note("refused", str(reason))
            return NOT_AUTHORISED
        return 0

    def _take(self, packet: Packet) -> None:
        module = self._module
        assert module is not None
        if module.faults.stall:
            return
        fields = Fields(packet.body)
        match packet.kind:
            case Kind.PUBLISH:
                self._take_message(module, packet.flags, fields)
            case Kind.SUBSCRIBE:
                self._take_subscription(module, fields)
            case Kind.UNSUBSCRIBE:
                identifier = fields.number(2)
                while fields:
                    module.subscriptions.pop(fields.text(), None)
                self._send(Packet(Kind.UNSUBACK, body=identifier.to_bytes(2, "big")))
            case Kind.PINGREQ:
                self._send(Packet(Kind.PINGRESP))
            case Kind.PUBACK:
                pass
            case _:
                raise ProtocolError(f"{packet.kind.name} from a client that is connected")

    def _take_message(self, module: Module, flags: int, fields: Fields) -> None:
        level = flags >> 1 & 3
        if level > 1:
            raise ProtocolError("quality of service 2")
        topic = fields.text()
        identifier = fields.number(2) if level else 0
        answer = module.receive(topic, fields.rest())
        if level and not module.faults.lose_acknowledgements:
            self._send(Packet(Kind.PUBACK, body=identifier.to_bytes(2, "big")))
        if answer is None or TWIN_ANSWERS not in module.subscriptions:
            return
        if module.faults.twin_delay:
            asyncio.get_running_loop().call_later(module.faults.twin_delay, self.publish, *answer)
        else:
            self.publish(*answer)

    def _take_subscription(self, module: Module, fields: Fields) -> None:
        identifier = fields.number(2)
        asked = []
        while fields:
            asked.append((fields.text(), fields.number(1)))
        if len(asked) > MAX_SUBSCRIPTIONS:
            raise ProtocolError(f"{len(asked)} subscriptions at once")
        if module.faults.lose_subscriptions:
            module.note("subscription lost", asked)
            return
        own = f"devices/{module.device}/modules/{module.name}/inputs/#"
        granted = bytearray()
        for filter_, quality in asked:
            known = filter_ in (DESIRED, METHODS, TWIN_ANSWERS, own)
            granted.append(min(quality, 1) if known else REFUSED)
            if known:
                module.subscriptions[filter_] = min(quality, 1)
        self._send(Packet(Kind.SUBACK, body=identifier.to_bytes(2, "big") + granted))
        module.note("subscribed", [filter_ for filter_, _ in asked])
