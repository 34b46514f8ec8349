"""Hashes of client passwords: scrypt (RFC 7914), written ``scrypt$<ln>$<r>$<p>$<salt>$<hash>``.

``ln`` is the binary logarithm of the cost; salt and hash are base64 with padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

MAX_PASSWORD: Final = 1024
"""Longest password tried, in bytes of UTF-8."""

_COST: Final = (14, 8, 5)
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_MAX_MEMORY: Final = 64 * 2**20
_MAX_WORK: Final = 2**21
_FORM = re.compile(
    r"scrypt\$(?P<ln>[1-9]\d?)\$(?P<r>[1-9]\d?)\$(?P<p>[1-9]\d?)"
    r"\$(?P<salt>[A-Za-z0-9+/=]{1,200})\$(?P<key>[A-Za-z0-9+/=]{1,200})",
    re.ASCII,
)
_REMEDY = (
    "must have the form 'scrypt$14$8$5$<salt>$<hash>'; "
    "make one with 'connected-registry token hash'"
)


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A parsed hash."""

    ln: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `ValueError`, never repeating ``text``, unless it is a hash we would compute.

        Costs are bounded so that no configuration can make one log-in take the whole machine.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(_REMEDY)
        ln, r, p = int(found["ln"]), int(found["r"]), int(found["p"])
        if ln < 10 or 128 * r * 2**ln > _MAX_MEMORY or r * p * 2**ln > _MAX_WORK:
            raise ValueError(f"{_REMEDY}; its cost parameters are out of bounds")
        try:
            salt = base64.b64decode(found["salt"], validate=True)
            key = base64.b64decode(found["key"], validate=True)
        except binascii.Error:
            raise ValueError(_REMEDY) from None
        if len(salt) < 8 or len(key) != _KEY_BYTES:
            raise ValueError(f"{_REMEDY}; its salt or hash has the wrong length")
        return cls(ln, r, p, salt, key)

    def __str__(self) -> str:
        salt, key = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return f"scrypt${self.ln}${self.r}${self.p}${salt}${key}"

    def verifies(self, plain: str) -> bool:
        """Whether ``plain`` is the password, compared in constant time."""
        password = plain.encode("utf-8", "surrogatepass")
        if len(password) > MAX_PASSWORD:
            return False
        return hmac.compare_digest(self.key, _derive(password, self.salt, self.ln, self.r, self.p))


def _derive(password: bytes, salt: bytes, ln: int, r: int, p: int) -> bytes:
    # OpenSSL counts a little more than 128 * r * n against its limit
    return hashlib.scrypt(
        password, salt=salt, n=2**ln, r=r, p=p, maxmem=2 * _MAX_MEMORY, dklen=_KEY_BYTES
    )


def check_hash(text: str) -> str:
    """``text`` if it is a well-formed hash, else `ValueError`."""
    PasswordHash.parse(text)
    return text


def hash_password(plain: str) -> str:
    """A fresh hash of ``plain`` with a random salt. Raises `ValueError` for what is unusable."""
    password = plain.encode()
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password must have 1 to {MAX_PASSWORD} bytes")
    salt = secrets.token_bytes(_SALT_BYTES)
    return str(PasswordHash(*_COST, salt=salt, key=_derive(password, salt, *_COST)))


def verify_password(plain: str, text: str) -> bool:
    """Whether ``plain`` is the password that the hash ``text`` was made of."""
    return PasswordHash.parse(text).verifies(plain)


def decoy_among(hashes: Iterable[str]) -> str:
    """A hash of no password, which takes as long to try as the dearest of ``hashes``."""
    costs = [(each.ln, each.r, each.p) for each in map(PasswordHash.parse, hashes)]
    cost = max(costs, key=lambda cost: 2 ** cost[0] * cost[1] * cost[2], default=_COST)
    return str(PasswordHash(*cost, salt=bytes(_SALT_BYTES), key=bytes(_KEY_BYTES)))
