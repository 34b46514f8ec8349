from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_hub.packet import (
    MAX_PACKET,
    Connect,
    Fields,
    Kind,
    Packet,
    ProtocolError,
    read_packet,
    text,
)


async def parsed(data: bytes) -> Packet:
    """The packet that ``data`` begins with."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_packet(reader.readexactly)


@given(kind=st.sampled_from(Kind), flags=st.integers(0, 15), size=st.integers(0, 20_000))
def test_a_packet_reads_as_it_was_written(kind: Kind, flags: int, size: int) -> None:
    """At every length of the length."""
    packet = Packet(kind, flags, b"x" * size)

    assert asyncio.run(parsed(packet.encode())) == packet


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00", b"\xf0\x00", b"\x30\xff\xff\xff\xff\x01", Packet(Kind.PUBLISH, 0, b"x").encode()],
)
async def test_bytes_that_are_no_packet_are_refused(data: bytes) -> None:
    """Unknown types, overlong lengths and cut packets end the connection, and nothing else."""
    with pytest.raises((ProtocolError, EOFError)):
        await parsed(data[:-1] if data[0] == 0x30 and len(data) == 3 else data)


async def test_a_packet_beyond_the_limit_is_refused_before_it_is_read() -> None:
    """A length alone does not take memory."""
    header = Packet(Kind.PUBLISH, 0, b"x" * (MAX_PACKET + 1)).encode()[:5]

    with pytest.raises(ProtocolError, match="a packet of"):
        await parsed(header)


def test_fields_that_end_too_early_are_refused() -> None:
    """Every field is checked against what is left."""
    for body in (b"", b"\x00", b"\x00\x05abc"):
        with pytest.raises(ProtocolError):
            Fields(body).text()


def test_a_will_is_skipped() -> None:
    """User name and password behind it are found."""
    body = text("MQTT") + b"\x04\xc6\x00\x0a" + text("id") + text("will") + text("x")
    connect = Connect.parse(body + text("user") + text("password"))

    assert connect == Connect("id", "user", "password", clean_session=True, keep_alive=10)


def test_another_protocol_version_is_refused() -> None:
    """Only MQTT 3.1.1 is spoken."""
    with pytest.raises(ProtocolError, match=r"3\.1\.1"):
        Connect.parse(text("MQTT") + b"\x05\x02\x00\x00" + text("id"))
