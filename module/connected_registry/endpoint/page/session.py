"""Browsers' sign-ins: a signed cookie instead of a password with every request.

The cookie is a token of the same kind as clients get, signed with a key of its own, so that
neither is taken for the other. It carries no rights: those are looked up anew each time, so a
token that is disabled or changed is out at once.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from typing import Final

from connected_registry.endpoint.access import Access, SignedIn
from connected_registry.endpoint.bearer import Grants, TokenSigner
from connected_registry.errors import TokenInvalid

COOKIE: Final = "connected-registry-session"
LIFETIME: Final = timedelta(hours=1)
"""After the last page that was opened or action that was taken; refreshing does not count."""

_FORM_LIFETIME: Final = timedelta(hours=1)


class Sessions:
    """Seals and reads sessions, and the tokens that forms carry against forgery."""

    def __init__(self, key: bytes, audience: str, clock: Callable[[], datetime]) -> None:
        self._key = hmac.digest(key, b"status page", "sha256")
        self._clock = clock
        self._signer = TokenSigner(self._key, f"{audience}/page", clock=clock, lifetime=LIFETIME)

    def seal(self, signed_in: SignedIn) -> str:
        """The cookie's value."""
        return self._signer.issue(signed_in.principal.name, signed_in.credential, Grants())

    def read(self, cookies: str | None, access: Access) -> SignedIn | None:
        """Who the Cookie header names; None for nobody, or whose time is over."""
        value = _value(cookies)
        if value is None:
            return None
        try:
            claims = self._signer.read(value)
            # The leeway of other machines' clocks does not apply: this is our own.
            return access.holder(claims) if self._clock() < claims.expires else None
        except TokenInvalid:
            return None

    def form_token(self, reader: str) -> str:
        """What a form of ``reader``'s has to send back."""
        stamp = f"{int(self._clock().timestamp()):x}.{secrets.token_urlsafe(9)}"
        return f"{stamp}.{self._mark(stamp, reader)}"

    def takes(self, token: str, reader: str) -> bool:
        """Whether ``token`` was made here for ``reader``, not too long ago."""
        stamp, _, mark = token.rpartition(".")
        if not token.isascii() or not hmac.compare_digest(mark, self._mark(stamp, reader)):
            return False
        age = self._clock().timestamp() - int(stamp.partition(".")[0], 16)
        return 0 <= age < _FORM_LIFETIME.total_seconds()

    def _mark(self, stamp: str, reader: str) -> str:
        return hmac.digest(self._key, f"form {stamp} {reader}".encode(), "sha256").hex()


def cookie(value: str, *, secure: bool) -> str:
    """The Set-Cookie header; an empty value ends the session."""
    age = int(LIFETIME.total_seconds()) if value else 0
    parts = [f"{COOKIE}={value}", "Path=/", f"Max-Age={age}", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*parts, "Secure"] if secure else parts)


def _value(cookies: str | None) -> str | None:
    if not cookies or len(cookies) > 16_384:
        return None
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None else None
