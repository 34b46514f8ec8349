"""What an ``Authorization`` header says. Pure; nothing here decides whether it is true."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from connected_registry.errors import RequestInvalid, Unauthorized

MAX_HEADER: Final = 16 * 1024
"""Longest value looked at, in bytes."""


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and a password (RFC 7617). Both empty is how podman says "nobody"."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token (RFC 6750)."""

    token: str = field(repr=False)


def authorization_header(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The one ``Authorization`` value among raw headers; `RequestInvalid` where there are two."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) > 1:
        raise RequestInvalid("more than one Authorization header")
    return values[0] if values else None


def parse_authorization(value: bytes) -> Basic | Bearer:
    """Raises `Unauthorized` for an unknown scheme and for anything malformed."""
    if len(value) > MAX_HEADER:
        raise Unauthorized("the Authorization header is too long")
    scheme, _, rest = value.strip().partition(b" ")
    credentials = rest.strip()
    match scheme.lower():
        case b"basic":
            return _parse_basic(credentials)
        case b"bearer" if credentials and credentials.isascii() and b" " not in credentials:
            return Bearer(credentials.decode("ascii"))
    raise Unauthorized("the Authorization header is malformed")


def _parse_basic(credentials: bytes) -> Basic:
    try:
        username, colon, password = (
            base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")
        )
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise Unauthorized("the Authorization header is malformed")
    return Basic(username, password)
