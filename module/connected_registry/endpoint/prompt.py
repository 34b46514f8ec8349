"""Answers that need no waiting, given before any ASGI task begins.

A pull whose manifest or small blob is in memory, from a caller whose credentials were checked
before, is answered in the callback that read the request. It takes the very steps of `dispatch`
with the very functions of the handlers, as long as none of them has to wait; where one does, where
anything is refused, and where anything is unusual, there is no answer here and the request goes
the ordinary way.

Beneath that, the bytes of a request answered so are remembered with their answer until the next
tick of the server's clock (a second). The same bytes get the same answer without being parsed,
unless since then content was changed, access was configured, or the credentials ran out.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from connected_registry.endpoint import blobs, manifests
from connected_registry.endpoint.answer import COMMON
from connected_registry.endpoint.body import Body
from connected_registry.endpoint.query import Query
from connected_registry.endpoint.routes import find_route
from connected_registry.endpoint.services import Call, EndpointServices, Pull
from connected_registry.endpoint.target import Resource, parse_target
from connected_registry.errors import RegistryError
from connected_registry.policy.access import Action

MAX_REQUEST: Final = 4096
"""Longest request remembered, in bytes."""

_MOST: Final = 4096
"""Most requests remembered at a time."""

_METHODS: Final = frozenset({"GET", "HEAD"})
_UNUSUAL: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_RECALL: Final = {
    Resource.MANIFEST: manifests.recall_manifest,
    Resource.BLOB: blobs.recall_blob,
}
_log = structlog.stdlib.get_logger(__name__)
_EVENTS: Final = logging.getLogger("connected_registry.endpoint.dispatch")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer and what has to stay as it is for it to be given again."""

    response: Response
    pull: Pull | None
    changes: int
    generation: int
    until: float


@dataclass(frozen=True, slots=True)
class _Remembered:
    answer: Answer
    head: bytes
    body: bytes


class Prompt:
    """The answers at hand of one endpoint."""

    def __init__(self, services: EndpointServices) -> None:
        self._services = services
        # Behind a proxy the same bytes mean something else from another peer.
        self.remembers = not services.origins.believes_proxies
        self._remembered: dict[bytes, _Remembered] = {}
        self._tick: object = None

    def answer(self, scope: Scope) -> Answer | None:
        """What `dispatch` would answer, if that takes no waiting and no refusing."""
        method = scope["method"]
        headers = scope["headers"]
        if method not in _METHODS or any(name in _UNUSUAL for name, _ in headers):
            return None
        if _EVENTS.isEnabledFor(logging.DEBUG):
            return None
        services = self._services
        # Taken first: a change in between makes the answer one that is not remembered.
        changes, generation = services.registry.changes, services.access.generation
        try:
            target = parse_target(scope["raw_path"])
            recall = _RECALL.get(target.resource)
            if recall is None or target.repository is None:
                return None
            route = find_route(target.resource, method)
            query = Query.parse(scope["query_string"])
            origin = services.origins.of(scope)
            known = services.access.recall(headers)
            if known is None or not isinstance(route.need, Action):
                return None
            services.access.authorise(known.principal, route.need, target.repository)
            call = Call(
                Request(scope),
                Body(scope, _nothing),
                origin,
                target,
                query,
                known.principal,
                services,
            )
            found = recall(call)
        except RegistryError:
            return None
        except Exception:
            # The ordinary way meets it too, and answers.
            _log.exception("http.no_prompt_answer", path=scope["path"][:300])
            return None
        if found is None:
            return None
        response, pull = found
        response.raw_headers.extend(COMMON)
        return Answer(response, pull, changes, generation, known.until)

    def count(self, answer: Answer) -> None:
        """Tell that it was given."""
        if answer.pull is not None and self._services.usage is not None:
            self._services.usage(answer.pull)

    def remember(
        self, request: bytes, answer: Answer, head: bytes, body: bytes, tick: object
    ) -> None:
        """Keep the bytes of an answer to the bytes of a request until the next tick."""
        self._turn(tick)
        if len(self._remembered) < _MOST:
            self._remembered[request] = _Remembered(answer, head, body)

    def recall(self, request: bytes, tick: object) -> tuple[bytes, bytes] | None:
        """Head and body of the answer to these very bytes, counted; None where it is not known."""
        self._turn(tick)
        found = self._remembered.get(request)
        if found is None or _EVENTS.isEnabledFor(logging.DEBUG):
            return None
        answer, services = found.answer, self._services
        if (
            answer.changes != services.registry.changes
            or answer.generation != services.access.generation
            or time.monotonic() >= answer.until
        ):
            del self._remembered[request]
            return None
        self.count(answer)
        return found.head, found.body

    def _turn(self, tick: object) -> None:
        if tick is not self._tick:
            self._remembered.clear()
            self._tick = tick


async def _nothing() -> Any:
    raise AssertionError("a request without a body is not read")
