"""Signed bundles: an HMAC over the table of contents, which holds the digest of everything else.

The key is shared: who can check a bundle could also have made it. It shows that nobody without
the key changed or made the bundle on its way; it does not show which holder of the key did.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from connected_registry.errors import BundleInvalid, ConfigurationError

MIN_KEY: Final = 32
MAX_KEY: Final = 4096
_PURPOSE: Final = b"connected-registry bundle 1\n"


@dataclass(frozen=True, slots=True)
class SealKey:
    """A secret that the cloud side and the sites share."""

    secret: bytes = field(repr=False)

    @classmethod
    def load(cls, option: str, path: Path) -> Self:
        """From a file of random bytes. Raises `ConfigurationError` naming ``option``."""
        try:
            with path.open("rb") as file:
                secret = file.read(MAX_KEY + 1)
        except OSError as error:
            raise ConfigurationError(
                option, str(path), f"the file cannot be read: {error.strerror}"
            ) from None
        if not MIN_KEY <= len(secret) <= MAX_KEY:
            raise ConfigurationError(
                option,
                str(path),
                f"a key has {MIN_KEY} to {MAX_KEY} bytes; make one by "
                "`head -c 32 /dev/urandom > KEY`",
            )
        return cls(secret)

    def seal(self, contents: bytes) -> bytes:
        """The seal as a line of hexadecimal digits."""
        return hmac.new(self.secret, _PURPOSE + contents, hashlib.sha256).hexdigest().encode()

    def check(self, contents: bytes, seal: bytes | None, source: str) -> None:
        """Raise `BundleInvalid` unless ``seal`` was made with this key over these contents."""
        if seal is None:
            raise BundleInvalid(
                f"{source} is not signed, and a key to check it was given: use a bundle that was "
                "exported with --sign-key"
            )
        if not hmac.compare_digest(self.seal(contents), seal.strip()):
            raise BundleInvalid(
                f"{source} is signed with another key, or was changed after it was signed: do not "
                "use it; ask for a new one"
            )
