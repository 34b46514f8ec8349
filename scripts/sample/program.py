"""A Linux program that prints one line, made by hand: no compiler and no download is needed.

The file is an ELF header, one program header that maps the whole file readable and executable, a
few instructions and the text. The instructions are the same three steps on each processor:
``write(1, text, length)``, ``exit(0)``, with the text addressed relative to the instructions.
"""

from __future__ import annotations

import struct

BASE = 0x400000
ELF_HEADER_SIZE = 64
PROGRAM_HEADER_SIZE = 56
ENTRY = ELF_HEADER_SIZE + PROGRAM_HEADER_SIZE
MACHINES = {"amd64": 62, "arm64": 183}
"""ELF machine numbers of the processors that a program can be made for."""


def greeting(architecture: str, text: str) -> bytes:
    """A static executable for ``amd64`` or ``arm64`` that writes ``text`` and a newline."""
    message = text.encode() + b"\n"
    code = _amd64(len(message)) if architecture == "amd64" else _arm64(len(message))
    size = ENTRY + len(code) + len(message)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bit, little endian, version 1
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        identity,
        2,  # an executable at fixed addresses
        MACHINES[architecture],
        1,
        BASE + ENTRY,
        ELF_HEADER_SIZE,  # where the program header is
        0,
        0,
        ELF_HEADER_SIZE,
        PROGRAM_HEADER_SIZE,
        1,
        0,
        0,
        0,
    )
    load, readable_and_executable, alignment = 1, 5, 0x10000
    segment = struct.pack(
        "<IIQQQQQQ", load, readable_and_executable, 0, BASE, BASE, size, size, alignment
    )
    return header + segment + code + message


def _amd64(length: int) -> bytes:
    write_and_exit = [
        b"\xb8\x01\x00\x00\x00",  # mov eax, 1          write
        b"\xbf\x01\x00\x00\x00",  # mov edi, 1          standard output
        b"\x48\x8d\x35\x10\x00\x00\x00",  # lea rsi, [rip+16]   the text, 16 bytes after this
        b"\xba" + struct.pack("<I", length),  # mov edx, length
        b"\x0f\x05",  # syscall
        b"\xb8\x3c\x00\x00\x00",  # mov eax, 60         exit
        b"\x31\xff",  # xor edi, edi        status 0
        b"\x0f\x05",  # syscall
    ]
    return b"".join(write_and_exit)


def _arm64(length: int) -> bytes:
    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register  # movz x<register>, #value

    supervisor_call = 0xD4000001
    instructions = [
        move(0, 1),  # standard output
        0x10000000 | (7 << 5) | 1,  # adr x1, the text, 7 instructions after this one
        move(2, length),
        move(8, 64),  # write
        supervisor_call,
        move(0, 0),  # status 0
        move(8, 93),  # exit
        supervisor_call,
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)
