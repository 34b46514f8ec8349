"""MQTT 3.1.1 control packets: the subset that IoT Hub speaks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

MAX_PACKET: Final = 512 * 1024
"""More than the largest message IoT Hub takes (256 KiB) with its topic."""


class Kind(IntEnum):
    """The packet types used, by their number (section 2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ProtocolError(Exception):
    """Bytes that are no MQTT, or that IoT Hub ends the connection for."""


@dataclass(frozen=True)
class Packet:
    """One packet without its fixed header."""

    kind: Kind
    flags: int = 0
    body: bytes = b""

    def encode(self) -> bytes:
        """The bytes to send."""
        length, left = bytearray(), len(self.body)
        while True:
            left, low = left >> 7, left & 0x7F
            length.append(low | (0x80 if left else 0))
            if not left:
                return bytes([self.kind << 4 | self.flags]) + bytes(length) + self.body


async def read_packet(read: Callable[[int], Coroutine[Any, Any, bytes]]) -> Packet:
    """The next packet from ``read(n)``, which returns exactly ``n`` bytes or raises."""
    first = (await read(1))[0]
    length = shift = 0
    while True:
        low = (await read(1))[0]
        length |= (low & 0x7F) << shift
        shift += 7
        if not low & 0x80:
            break
        if shift > 21:
            raise ProtocolError("remaining length of more than four bytes")
    if length > MAX_PACKET:
        raise ProtocolError(f"a packet of {length} bytes")
    try:
        kind = Kind(first >> 4)
    except ValueError as error:
        raise ProtocolError(f"packet type {first >> 4}") from error
    return Packet(kind, first & 0x0F, await read(length))


def text(value: str) -> bytes:
    """A length-prefixed string (section 1.5.3)."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


class Fields:
    """Takes a packet's body apart from front to back; raises `ProtocolError` where it is short."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._body)

    def number(self, size: int) -> int:
        """An unsigned integer of ``size`` bytes."""
        return int.from_bytes(self._take(size), "big")

    def data(self) -> bytes:
        """Length-prefixed bytes."""
        return self._take(self.number(2))

    def text(self) -> str:
        """A length-prefixed string."""
        try:
            return self.data().decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("a string that is not UTF-8") from error

    def rest(self) -> bytes:
        """Everything left."""
        return self._take(len(self._body) - self._at)

    def _take(self, size: int) -> bytes:
        taken = self._body[self._at : self._at + size]
        if len(taken) < size:
            raise ProtocolError("a packet that ends too early")
        self._at += size
        return taken


@dataclass(frozen=True)
class Connect:
    """What a client says first (section 3.1); a will is read and ignored."""

    client_id: str
    user_name: str
    password: str
    clean_session: bool
    keep_alive: int
    """Seconds; 0 switches the check off."""

    @classmethod
    def parse(cls, body: bytes) -> Connect:
        """Raise `ProtocolError` for anything but a CONNECT of MQTT 3.1.1."""
        fields = Fields(body)
        if (fields.text(), fields.number(1)) != ("MQTT", 4):
            raise ProtocolError("not MQTT 3.1.1")
        flags, keep_alive = fields.number(1), fields.number(2)
        client_id = fields.text()
        if flags & 0x04:
            fields.data()
            fields.data()
        user_name = fields.text() if flags & 0x80 else ""
        password = fields.text() if flags & 0x40 else ""
        return cls(client_id, user_name, password, bool(flags & 0x02), keep_alive)
