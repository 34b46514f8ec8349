"""One registry, spoken to: one pool of connections, redirects, time limits and retries.

`ParentClient` says what to ask; here is how. Everything raised is a `ParentError`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, Self, TypeVar

import httpx
import stamina

from connected_registry.errors import (
    ConfigurationError,
    ParentFailed,
    ParentOffline,
    ParentThrottled,
    ParentUnavailable,
)
from connected_registry.parent.address import ParentAddress
from connected_registry.parent.answer import Answer, name_request, refusal, translated
from connected_registry.parent.auth import ACCESS, Access, ParentAuth
from connected_registry.parent.credentials import Credentials
from connected_registry.parent.limits import MAX_HOPS, Limits
from connected_registry.parent.transport import BODY_LIMIT, GuardedTransport, Tally

T = TypeVar("T")

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: ``path`` is relative to the registry's root, with its query.

    It may also be a whole address that the parent named, which is then checked as redirects are.
    """

    method: str
    path: str
    access: Access
    headers: Mapping[str, str] = field(default_factory=dict)
    body_limit: int | None = None
    content: bytes | None = field(default=None, repr=False)


class ParentSession:
    """An async context manager. ``transport`` takes the place of the network in tests."""

    def __init__(
        self,
        address: ParentAddress,
        credentials: Credentials | None,
        *,
        user_agent: str,
        limits: Limits,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = address
        self.limits = limits
        self.tally = Tally()
        self.bytes_sent = 0
        """Bytes of request bodies given to the link since the start."""
        self._hold_until = 0.0
        headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(limits.read, connect=limits.connect, pool=None)
        self._auth = ParentAuth(
            address, credentials, headers=headers, timeout=timeout, body_limit=limits.token_body
        )
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(
                transport or _network(address, limits), address, limits, self.tally
            ),
            headers=headers,
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.aclose()

    async def read(self, ask: Ask, *, passing: Collection[int] = ()) -> Answer:
        """The whole answer, after retries; a status other than 2xx and ``passing`` raises."""
        return await self.retrying(ask, lambda: self._attempt(ask, passing))

    async def once(self, ask: Ask, *, passing: Collection[int] = ()) -> Answer:
        """As `read` without retries: for what may have had an effect although it failed."""
        with translated(name_request(ask.method, self.address.url.join(ask.path))):
            await self._hold()
            return await self._attempt(ask, passing)

    async def _attempt(self, ask: Ask, passing: Collection[int]) -> Answer:
        async with asyncio.timeout(self.limits.answer):
            response = await self.send(ask)
            try:
                return await self._whole(ask, response, passing)
            finally:
                await response.aclose()

    async def open(self, ask: Ask, *, passing: Collection[int] = ()) -> httpx.Response:
        """An answer whose body is still to be read, within no time limit; else as `read`.

        The caller closes it. The body of a refusal has been read.
        """

        async def attempt() -> httpx.Response:
            async with asyncio.timeout(self.limits.answer):
                response = await self.send(ask)
                try:
                    if not response.is_success:
                        await self._whole(ask, response, passing)
                except BaseException:
                    await response.aclose()
                    raise
                return response

        return await self.retrying(ask, attempt)

    async def send(self, ask: Ask) -> httpx.Response:
        """One try, through redirects. Credentials end with the first hop to somewhere else."""
        url, headers = self.address.url.join(ask.path), dict(ask.headers)
        if not (own := self.address.is_own(url)):
            url = self.address.checked(url, f"{self.address.host} sends us on")
        for _ in range(MAX_HOPS + 1):
            request = self._client.build_request(
                ask.method,
                url,
                headers=headers,
                content=ask.content,
                extensions={ACCESS: ask.access, BODY_LIMIT: ask.body_limit},
            )
            self.bytes_sent += len(ask.content or b"")
            response = await self._client.send(
                request, auth=self._auth if own else None, stream=True
            )
            if response.status_code not in REDIRECTS:
                return response
            await response.aclose()
            url = self.address.next_hop(url, response.headers.get("location"))
            if not self.address.is_own(url):
                own = False
                headers.pop("If-Range", None)  # a validator means nothing to another server
        raise ParentFailed(f"{name_request(ask.method, url)} was redirected too often")

    async def retrying(self, ask: Ask, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it works, will not work, or has been tried often enough."""
        asked = name_request(ask.method, self.address.url.join(ask.path))
        async for trial in stamina.retry_context(
            on=self._again,
            attempts=self.limits.attempts,
            timeout=self.limits.retry_total,
            wait_initial=self.limits.retry_first,
            wait_max=self.limits.retry_longest,
            wait_jitter=self.limits.retry_first,
        ):
            with trial, translated(asked):
                await self._hold()
                return await attempt()
        raise AssertionError("stamina raises the last error")

    def _again(self, error: Exception) -> bool | float:
        """Whether to try again, and after how many seconds where the parent said so."""
        if not isinstance(error, ParentOffline | ParentThrottled | ParentUnavailable):
            return False
        wait = error.retry_after
        if wait is None:
            return True
        self._hold_until = max(
            self._hold_until, time.monotonic() + min(wait, self.limits.retry_after)
        )
        if wait > self.limits.retry_after:
            return False
        return wait + random.uniform(0, self.limits.retry_first + wait / 10)  # noqa: S311 jitter

    async def _hold(self) -> None:
        """A parent that told one request to wait means all of them."""
        await asyncio.sleep(max(0.0, self._hold_until - time.monotonic()))

    async def _whole(self, ask: Ask, response: httpx.Response, passing: Collection[int]) -> Answer:
        content = b"".join([chunk async for chunk in response.aiter_raw()])
        asked = name_request(ask.method, response.url)
        answer = Answer(asked, response.url, response.status_code, response.headers, content)
        if response.is_success or response.status_code in passing:
            return answer
        raise refusal(answer, own=self.address.is_own(response.url))


def _network(address: ParentAddress, limits: Limits) -> httpx.AsyncHTTPTransport:
    """Connections with TLS by the public authorities and the configured one."""
    context = httpx.create_ssl_context(trust_env=False)
    if address.ca_file is not None:
        try:
            context.load_verify_locations(cafile=address.ca_file)
        except OSError as error:
            raise ConfigurationError(
                "caFile", str(address.ca_file), f"give a readable PEM file ({error})"
            ) from error
    try:
        return httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=limits.connections,
                max_keepalive_connections=limits.connections,
                keepalive_expiry=30.0,
            ),
            proxy=address.proxy,
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise ConfigurationError("proxy", "(hidden)", "give `http://host:port`") from error
