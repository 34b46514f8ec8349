"""The shared access key of a module, and the tokens that are signed with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import quote, unquote


class TokenError(Exception):
    """A token that does not let its bearer in; the text says why."""


@dataclass(frozen=True)
class AccessKey:
    """A symmetric key in base64, as connection strings carry it."""

    text: str

    @classmethod
    def new(cls) -> AccessKey:
        """A random key."""
        return cls(base64.b64encode(secrets.token_bytes(32)).decode())

    def sign(self, data: bytes) -> str:
        """HMAC-SHA256 in base64: what the workload API's ``sign`` answers."""
        digest = hmac.new(base64.b64decode(self.text), data, hashlib.sha256).digest()
        return base64.b64encode(digest).decode()

    def token(self, resource: str, expires: int) -> str:
        """A shared access signature for ``host/devices/d/modules/m`` until a Unix time."""
        audience = quote(resource, safe="")
        signature = quote(self.sign(f"{audience}\n{expires}".encode()), safe="")
        return f"SharedAccessSignature sr={audience}&sig={signature}&se={expires}"

    def check(self, token: str, resource: str, now: float) -> int:
        """When the token expires, in Unix time; raise `TokenError` unless it is good now.

        As at edgeHub, the audience must be exactly ``resource``; the case of letters is ignored.
        """
        try:
            scheme, _, rest = token.partition(" ")
            fields = dict(field.split("=", 1) for field in rest.split("&"))
            audience, signature, expires = fields["sr"], unquote(fields["sig"]), int(fields["se"])
        except (ValueError, KeyError, binascii.Error) as error:
            raise TokenError("the password is no shared access signature") from error
        if scheme != "SharedAccessSignature":
            raise TokenError(f"unknown kind of token: {scheme}")
        if unquote(audience).lower() != resource.lower():
            raise TokenError(f"the token is for {unquote(audience)}, not for {resource}")
        if not hmac.compare_digest(signature, self.sign(f"{audience}\n{expires}".encode())):
            raise TokenError("the signature is wrong")
        if expires <= now:
            raise TokenError(f"the token expired at {expires}")
        return expires
