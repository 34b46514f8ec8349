"""Digests: what content is called by what it is. OCI image specification, "Digests"."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, Self

from connected_registry.errors import DigestInvalid

if TYPE_CHECKING:
    from hashlib import _Hash

ENCODED: Final = {
    "sha256": re.compile(r"[a-f0-9]{64}"),
    "sha512": re.compile(r"[a-f0-9]{128}"),
}
"""Supported algorithms and the exact form of their encoded part."""

CANONICAL: Final = "sha256"


class Digest(str):
    """``algorithm:encoded`` of a supported algorithm; a ``str`` that has been checked.

    Only such values become file names, so nothing a client sends ever reaches a path.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `DigestInvalid` unless ``text`` is a well-formed sha256 or sha512 digest."""
        algorithm, _, encoded = text.partition(":")
        pattern = ENCODED.get(algorithm)
        if pattern is None or not pattern.fullmatch(encoded):
            raise DigestInvalid("invalid digest", detail={"digest": text[:200]})
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> Self:
        """Hash ``content``."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @classmethod
    def from_hash(cls, running: _Hash) -> Self:
        """The digest of what a hash from `new_hash` has seen so far."""
        return cls(f"{running.name}:{running.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal part."""
        return self.partition(":")[2]

    def new_hash(self) -> _Hash:
        """A fresh running hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """Whether ``content`` hashes to this digest."""
        return type(self).of(content, self.algorithm) == self
