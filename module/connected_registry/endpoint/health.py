"""``/healthz``: whether the replica does its work."""

from __future__ import annotations

from starlette.responses import Response

from connected_registry.endpoint.answer import answer_json
from connected_registry.endpoint.services import Call


async def get_health(call: Call) -> Response:
    """200 or 503. What is wrong is told on this machine, and to whoever has logged in."""
    facts = dict(call.services.health())
    healthy = bool(facts.get("healthy"))
    if not (call.origin.is_loopback or not call.principal.is_anonymous):
        facts = {"healthy": healthy}
    return answer_json(facts, status=200 if healthy else 503, headers={"Cache-Control": "no-store"})
