"""Who is asking, and whether they may: the one place that decides, asked by every route.

Nothing here looks at what is stored, so an answer cannot tell whether a repository exists: a
caller without credentials gets 401, a known one without the right gets 403, both before any
look-up; only who may read a repository learns that something is missing from it.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from connected_registry.endpoint.authorization import (
    Basic,
    authorization_header,
    parse_authorization,
)
from connected_registry.endpoint.bearer import WORDS, Claims, Grants, TokenSigner
from connected_registry.endpoint.throttle import Throttle
from connected_registry.errors import Denied, ScopeInsufficient, TokenInvalid, Unauthorized
from connected_registry.oci.challenge import TokenScope
from connected_registry.policy.access import (
    Action,
    ClientToken,
    Password,
    Permissions,
    ScopeMap,
    Status,
    permissions_of,
)
from connected_registry.policy.password import decoy_among, verify_password

NOBODY: Final = "-"
"""The name of callers without a token of their own; no token can be called so."""

_PASSWORDS_A_TOKEN: Final = 2
_PARALLEL_CHECKS: Final = 2
_REMEMBERED: Final = 4096
_REMEMBERED_FOR: Final = timedelta(minutes=15)
_EVERYTHING: Final = Permissions.from_actions(f"repositories/*/{action}" for action in Action)
_PULL: Final = Permissions.from_actions(
    ("repositories/*/content/read", "repositories/*/metadata/read")
)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Everything that access depends on, swapped as a whole when the configuration changes."""

    tokens: tuple[ClientToken, ...] = ()
    scope_maps: tuple[ScopeMap, ...] = ()
    anonymous_pull: bool = False
    open: bool = False
    """Everyone may do everything: only for a loopback address without tokens."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller and what it may do: its permissions, narrowed by its token where it shows one."""

    name: str
    permissions: Permissions
    grants: Grants | None = None
    identified: bool = True
    """Whether it showed credentials, be they those of nobody."""

    @property
    def is_anonymous(self) -> bool:
        """Whether it has no name of its own."""
        return self.name == NOBODY

    def may(self, action: Action, repository: str) -> bool:
        """Whether ``action`` is allowed by the permissions and by the token shown."""
        return self.permissions.allows(repository, action) and (
            self.grants is None or (repository, action) in self.grants.repositories
        )

    def may_list(self, repository: str) -> bool:
        """Whether the catalogue shows ``repository``: only what the caller may pull."""
        return self.permissions.allows(repository, Action.CONTENT_READ) and (
            self.permissions.allows(repository, Action.METADATA_READ)
        )


EVERYONE: Final = Principal(NOBODY, _EVERYTHING)
"""Whoever calls a replica that is open."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A caller who was checked before, and until when on the monotonic clock that counts."""

    principal: Principal
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A checked user name and password: the caller, and which password it was."""

    principal: Principal
    credential: str
    expires: datetime | None = None


class Access:
    """Authenticates and authorises callers by the rules in force.

    Asyncio; passwords are checked in worker threads, few at a time. ``key`` both signs tokens and
    keys what is remembered of good passwords, so that none of them stays in memory.
    """

    def __init__(
        self,
        rules: AccessRules,
        *,
        key: bytes,
        audience: str,
        clock: Callable[[], datetime],
        throttle: Throttle | None = None,
        lifetime: timedelta = _REMEMBERED_FOR,
    ) -> None:
        self.signer = TokenSigner(key, audience, clock=clock, lifetime=lifetime)
        self._key = key
        self._clock = clock
        self._throttle = throttle or Throttle()
        self._checks = asyncio.Semaphore(_PARALLEL_CHECKS)
        self._remembered: OrderedDict[bytes, tuple[float, SignedIn]] = OrderedDict()
        self.generation = 0
        """Grows with each `configure`: what was decided before it counts no more."""
        self.configure(rules)

    def configure(self, rules: AccessRules) -> None:
        """Put ``rules`` in force at once, for tokens already issued too."""
        self._rules = rules
        self._accounts = {
            token.name: (token, permissions_of(token, rules.scope_maps)) for token in rules.tokens
        }
        self._decoy = decoy_among(
            password.hash for token in rules.tokens for password in token.passwords
        )
        self._remembered.clear()
        self.generation += 1

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self._rules.open

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]], source: str) -> Principal:
        """The caller behind raw ``headers``. Raises `Unauthorized` or `TooManyRequests`.

        ``source`` is the client's address, by which failures are counted.
        """
        value = authorization_header(headers)
        if self._rules.open:
            return EVERYONE
        if value is None:
            return self._anonymous(identified=False)
        seal = hmac.digest(self._key, value, "sha256")
        remembered = self._recall(seal)
        if remembered is None:
            credentials = parse_authorization(value)
            if isinstance(credentials, Basic):
                remembered = await self.sign_in(credentials.username, credentials.password, source)
            else:
                remembered = self._read_token(credentials.token)
            self._remember(seal, remembered)
        return remembered.principal

    def recall(self, headers: Iterable[tuple[bytes, bytes]]) -> Recalled | None:
        """What `authenticate` would answer without checking anything anew; else None.

        Raises `RequestInvalid` as that does.
        """
        value = authorization_header(headers)
        if self._rules.open:
            return Recalled(EVERYONE)
        if value is None:
            return Recalled(self._anonymous(identified=False))
        seal = hmac.digest(self._key, value, "sha256")
        signed_in = self._recall(seal)
        return (
            None if signed_in is None else Recalled(signed_in.principal, self._remembered[seal][0])
        )

    async def sign_in(self, username: str, password: str, source: str) -> SignedIn:
        """Check a password. The empty pair is nobody. Raises `Unauthorized`, `TooManyRequests`.

        Takes as long for a name that does not exist, is disabled or has one password only.
        """
        if self._rules.open or not (username or password):
            return SignedIn(self._anonymous(identified=True), "")
        seal = hmac.digest(self._key, f"{username}\0{password}".encode(), "sha256")
        remembered = self._recall(seal)
        if remembered is not None:
            return remembered
        self._throttle.begin(source, username)
        token, permissions = self._accounts.get(username, (None, Permissions()))
        passwords = token.passwords if token is not None else ()
        async with self._checks:
            matched = await asyncio.to_thread(_match, passwords, password, self._decoy)
        current = self._accounts.get(username, (None, None))[0]
        if matched is None or token is None or current != token or not self._usable(token, matched):
            raise Unauthorized("invalid user name or password")
        self._throttle.succeeded(source, username)
        signed_in = SignedIn(
            Principal(token.name, permissions), self._credential(matched), matched.expiry
        )
        self._remember(seal, signed_in)
        return signed_in

    def issue(self, signed_in: SignedIn, wanted: Iterable[TokenScope]) -> str:
        """A token for what is wanted and allowed; `Unauthorized` for nobody where nobody may."""
        principal = signed_in.principal
        if principal.is_anonymous and not (self._rules.anonymous_pull or self._rules.open):
            raise Unauthorized
        return self.signer.issue(
            principal.name, signed_in.credential, Grants.of(wanted, principal.permissions)
        )

    def holder(self, claims: Claims) -> SignedIn:
        """Whoever a genuine token names, with the rights it has now.

        Raises `TokenInvalid` where the owner is gone or disabled, or the password was withdrawn.
        """
        token, permissions = self._accounts.get(claims.subject, (None, Permissions()))
        for password in token.passwords if token is not None else ():
            if (
                token is not None
                and hmac.compare_digest(self._credential(password), claims.credential)
                and self._usable(token, password)
            ):
                expires = min(claims.expires, password.expiry or claims.expires)
                return SignedIn(Principal(token.name, permissions), claims.credential, expires)
        raise TokenInvalid("the token's owner or password has been withdrawn")

    def authorise(self, principal: Principal, action: Action, repository: str) -> None:
        """Raises `Unauthorized` or `Denied` unless ``principal`` may do ``action``."""
        if principal.may(action, repository):
            return
        detail = [needed(action, repository)]
        if not principal.permissions.allows(repository, action):
            raise Unauthorized(detail=detail) if principal.is_anonymous else Denied(detail=detail)
        raise ScopeInsufficient(detail=detail)

    def authorise_catalog(self, principal: Principal) -> None:
        """Raises `Unauthorized` unless ``principal`` may list what it may pull."""
        detail = [{"Type": "registry", "Name": "catalog", "Action": "*"}]
        if principal.is_anonymous and not principal.permissions.repositories:
            raise Unauthorized(detail=detail)
        if principal.grants is not None and not principal.grants.catalog:
            raise ScopeInsufficient(detail=detail)

    def authorise_presence(self, principal: Principal) -> None:
        """Raises `Unauthorized` unless credentials were shown.

        Even where anonymous pulls are allowed: Docker decides by this answer whether it will ever
        send any.
        """
        if not principal.identified or (principal.is_anonymous and not self._welcomes_nobody()):
            raise Unauthorized

    def _welcomes_nobody(self) -> bool:
        return self._rules.open or self._rules.anonymous_pull

    def _anonymous(self, *, identified: bool, grants: Grants | None = None) -> Principal:
        if self._rules.open:
            return EVERYONE
        permissions = _PULL if self._rules.anonymous_pull else Permissions()
        return Principal(NOBODY, permissions, grants, identified)

    def _read_token(self, text: str) -> SignedIn:
        claims = self.signer.read(text)
        if claims.subject == NOBODY:
            if not self._rules.anonymous_pull:
                raise TokenInvalid("anonymous access has been switched off")
            principal = self._anonymous(identified=True, grants=claims.grants)
            return SignedIn(principal, "", claims.expires)
        found = self.holder(claims)
        return replace(found, principal=replace(found.principal, grants=claims.grants))

    def _usable(self, token: ClientToken, password: Password) -> bool:
        return token.status is Status.ENABLED and (
            password.expiry is None or self._clock() < password.expiry
        )

    def _credential(self, password: Password) -> str:
        return hmac.digest(self._key, password.hash.encode(), "sha256")[:12].hex()

    def _recall(self, seal: bytes) -> SignedIn | None:
        found = self._remembered.get(seal)
        if found is None:
            return None
        until, signed_in = found
        if time.monotonic() >= until:
            del self._remembered[seal]
            return None
        self._remembered.move_to_end(seal)
        return signed_in

    def _remember(self, seal: bytes, signed_in: SignedIn) -> None:
        """Keep a good answer for as long as it is good, by a clock that nobody can set."""
        seconds = _REMEMBERED_FOR.total_seconds()
        if signed_in.expires is not None:
            seconds = min(seconds, (signed_in.expires - self._clock()).total_seconds())
        self._remembered[seal] = (time.monotonic() + seconds, signed_in)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)


def _match(passwords: tuple[Password, ...], plain: str, decoy: str) -> Password | None:
    """The password that ``plain`` is; always the same number of computations."""
    matched = None
    for password in passwords:
        if verify_password(plain, password.hash):
            matched = password
    for _ in range(_PASSWORDS_A_TOKEN - len(passwords)):
        verify_password(plain, decoy)
    return matched


def needed(action: Action, repository: str) -> dict[str, str]:
    """What a refused request would have needed, as the error's detail lists it."""
    words = {
        # What clients ask for by themselves when they push or list.
        Action.CONTENT_WRITE: "pull,push",
        Action.METADATA_READ: "pull",
    }
    return {
        "Type": "repository",
        "Name": repository,
        "Action": words.get(action, WORDS[action]),
    }
