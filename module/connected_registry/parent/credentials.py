"""Who this replica is to its parent."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from connected_registry.errors import ConfigurationError

IDENTITY_TOKEN_USER: Final = "00000000-0000-0000-0000-000000000000"  # noqa: S105 a name
"""The user name that says, at Azure registries, that the password is a refresh token."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user or token name and its password; an identity token has no name or Azure's null name."""

    username: str
    password: SecretStr

    def __post_init__(self) -> None:
        if ":" in self.username or not self.username.isprintable():
            raise ConfigurationError(
                "username", self.username, "a user name has no colon and no control characters"
            )
        if not self.password.get_secret_value():
            raise ConfigurationError("password", "", f"user {self.username!r} needs a password")

    @property
    def is_identity_token(self) -> bool:
        """Whether the password is a refresh token, to be exchanged rather than shown."""
        return self.username in {"", IDENTITY_TOKEN_USER}

    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617, as UTF-8)."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
