"""The 401 dance: what to put into ``Authorization``, learned from the parent's challenges.

Credentials go to the parent's own origin and to the configured token servers, nowhere else; a
token goes to the parent's own origin only. Tokens are kept until shortly before they expire, and
requests that need the same one wait for one exchange.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import httpx

from connected_registry.errors import ParentFailed, ParentUnauthorized
from connected_registry.oci.challenge import Challenge, parse_challenges
from connected_registry.parent.address import ParentAddress, shown
from connected_registry.parent.bearer import Granted, TokenRequest, ask_for_token
from connected_registry.parent.credentials import Credentials
from connected_registry.parent.transport import BODY_LIMIT

ACCESS: Final = "access"
"""Request extension: the `Access` that the request needs."""
ROUNDS: Final = 3
"""Bare, with a token from before, with a new token."""
MOST_TOKENS: Final = 4096
LONGEST_CHALLENGE: Final = 8192
REFUSAL_KEPT: Final = 10.0
"""Seconds in which a refusal is repeated to others, so that a wrong password is tried once."""


class Access(NamedTuple):
    """What a request is about: requests of one kind to one repository share a token."""

    kind: str
    repository: str = ""


@dataclass(slots=True)
class _Kept:
    """A token, or the refusal of one."""

    authorization: str | None = field(repr=False)
    until: float
    refusal: str = ""


@dataclass(slots=True)
class _Learned:
    """What the parent's challenges told: its scheme, and for each kind the form of its scope."""

    basic: bool = False
    realm: httpx.URL | None = None
    service: str = ""
    exact: dict[Access, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)

    def scope(self, access: Access) -> str | None:
        """The scope to ask for; None until a challenge for this kind has been seen."""
        if access in self.exact:
            return self.exact[access]
        form = self.forms.get(access.kind)
        return None if form is None else form.replace("{}", access.repository)

    def remember(self, access: Access, scope: str) -> None:
        """Keep the form of a scope when it names the repository in the usual place."""
        start = f"repository:{access.repository}:"
        if access.repository and scope.startswith(start) and " " not in scope:
            self.forms[access.kind] = "repository:{}:" + scope.removeprefix(start)
            self.exact.pop(access, None)
            return
        if len(self.exact) >= MOST_TOKENS:
            self.exact.clear()
        self.exact[access] = scope


class ParentAuth(httpx.Auth):
    """Authentication for one parent; use it for requests to the parent's own origin."""

    def __init__(
        self,
        address: ParentAddress,
        credentials: Credentials | None,
        *,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
        body_limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._headers = headers
        self._extensions: dict[str, Any] = {"timeout": timeout.as_dict(), BODY_LIMIT: body_limit}
        self._clock = clock
        self._learned = _Learned()
        self._kept: dict[TokenRequest, _Kept] = {}
        self._flights: WeakValueDictionary[TokenRequest, asyncio.Lock] = WeakValueDictionary()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Yield the request, and requests for tokens between, until it passes or cannot.

        The last answer may still be a 401. Raises `ParentUnauthorized` where there is nothing to
        answer a challenge with, or where the one who asks for the credentials may not have them.
        """
        if not self._address.is_own(request.url):
            raise ParentFailed(f"{shown(request.url)} is not the parent and gets no credentials")
        access = request.extensions.get(ACCESS, Access("other"))
        for _ in range(ROUNDS):
            wanted = self._wanted(access)
            authorization = self._basic() if wanted is None else self._current(wanted)
            last = wanted is None and authorization is not None
            if wanted is not None and authorization is None:
                async with self._flights.setdefault(wanted, asyncio.Lock()):
                    authorization = self._current(wanted)
                    if authorization is None:
                        exchange = self._exchange(wanted)
                        answer = yield next(exchange)
                        while authorization is None:
                            await answer.aread()
                            try:
                                answer = yield exchange.send(answer)
                            except StopIteration as done:
                                authorization = self._keep(wanted, done.value)
                            except ParentUnauthorized as error:
                                self._refuse(wanted, error)
                                raise
                        last = True
            if authorization is not None:
                request.headers["Authorization"] = authorization
            response = yield request
            if response.status_code != 401 or last:
                return
            if wanted is not None:
                self._forget(wanted, authorization)
            if not self._learn(access, request.url, response.headers):
                return

    def _learn(self, access: Access, url: httpx.URL, headers: httpx.Headers) -> bool:
        """Take in a challenge; False where there is none that we understand."""
        challenges = {c.scheme: c for c in parse_challenges(headers.get_list("www-authenticate"))}
        if "bearer" in challenges:
            self._learn_bearer(access, url, challenges["bearer"])
            return True
        if "basic" in challenges:
            if self._credentials is None:
                raise ParentUnauthorized(
                    f"{shown(url)} asks for a user name and a password, and none is configured"
                )
            self._learned.basic, self._learned.realm = True, None
            return True
        return False

    def _learn_bearer(self, access: Access, url: httpx.URL, challenge: Challenge) -> None:
        realm_text = challenge.parameters.get("realm", "")
        scope = challenge.parameters.get("scope", "")
        if not realm_text or len(realm_text) + len(scope) > LONGEST_CHALLENGE:
            raise ParentFailed(f"{shown(url)} asks for a token without saying where to get one")
        try:
            realm = url.join(realm_text).copy_with(fragment=None)
        except (httpx.InvalidURL, ValueError) as error:
            raise ParentFailed(f"{shown(url)} names a token server that makes no sense") from error
        realm = self._address.checked(realm, f"{shown(url)} sends us for a token")
        if self._credentials is not None and not self._address.trusts_realm(realm):
            place = shown(realm)
            raise ParentUnauthorized(
                f"{shown(url)} wants our credentials to be sent to {place}, which is not trusted"
                f" with them; if that is its token server, add {place} to the realm hosts"
            )
        learned = self._learned
        learned.basic, learned.realm = False, realm
        learned.service = challenge.parameters.get("service", "")
        learned.remember(access, scope)

    def _wanted(self, access: Access) -> TokenRequest | None:
        realm, scope = self._learned.realm, self._learned.scope(access)
        if realm is None or scope is None:
            return None
        return TokenRequest(realm, self._learned.service, scope)

    def _basic(self) -> str | None:
        if self._learned.basic and self._credentials is not None:
            return self._credentials.basic()
        return None

    def _exchange(self, wanted: TokenRequest) -> Generator[httpx.Request, httpx.Response, Granted]:
        return ask_for_token(wanted, self._credentials, self._headers, self._extensions)

    def _current(self, wanted: TokenRequest) -> str | None:
        """The kept token if it is good for a while; raise again a refusal of a moment ago."""
        kept = self._kept.get(wanted)
        if kept is None or kept.until <= self._clock():
            return None
        if kept.authorization is None:
            raise ParentUnauthorized(kept.refusal)
        return kept.authorization

    def _keep(self, wanted: TokenRequest, granted: Granted) -> str:
        margin = min(30.0, granted.lifetime / 5)
        authorization = f"Bearer {granted.value}"
        self._store(wanted, _Kept(authorization, self._clock() + granted.lifetime - margin))
        return authorization

    def _refuse(self, wanted: TokenRequest, error: ParentUnauthorized) -> None:
        self._store(wanted, _Kept(None, self._clock() + REFUSAL_KEPT, str(error)))

    def _store(self, wanted: TokenRequest, kept: _Kept) -> None:
        if len(self._kept) >= MOST_TOKENS:
            self._kept.clear()
        self._kept[wanted] = kept

    def _forget(self, wanted: TokenRequest, authorization: str | None) -> None:
        """Drop a token that was refused, unless another request has replaced it already."""
        kept = self._kept.get(wanted)
        if kept is not None and kept.authorization == authorization:
            del self._kept[wanted]
