"""The token endpoint of Docker's and Azure's registries: a password in, a short-lived token out."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from connected_registry.endpoint.access import SignedIn
from connected_registry.endpoint.answer import answer_json
from connected_registry.endpoint.authorization import (
    Basic,
    authorization_header,
    parse_authorization,
)
from connected_registry.endpoint.query import Query
from connected_registry.endpoint.services import Call
from connected_registry.errors import AddressUnknown, RequestInvalid, Unauthorized
from connected_registry.oci.challenge import parse_scopes

MAX_FORM: Final = 16 * 1024
"""Longest form taken, in bytes."""


async def get_token(call: Call) -> Response:
    """GET: credentials in a Basic header, or none for nobody's token."""
    signed_in = await _sign_in_by_header(call)
    return _answer(call, call.query, signed_in)


async def post_token(call: Call) -> Response:
    """POST: an OAuth 2 form with ``grant_type=password``; there are no refresh tokens here."""
    form = await _read_form(call)
    grant_type = form.one("grant_type") or ""
    if grant_type != "password":
        raise RequestInvalid(f"grant_type {grant_type[:50]!r} is not supported; use 'password'")
    username, password = form.one("username") or "", form.one("password") or ""
    signed_in = await call.services.access.sign_in(username, password, call.origin.client)
    return _answer(call, form, signed_in)


async def refuse_exchange(_: Call) -> Response:
    """Azure identities mean nothing on site."""
    raise AddressUnknown(
        "Azure tokens are not exchanged here; log in with a client token's name and password"
    )


async def _sign_in_by_header(call: Call) -> SignedIn:
    value = authorization_header(call.request.scope["headers"])
    if value is None:
        return await call.services.access.sign_in("", "", call.origin.client)
    credentials = parse_authorization(value)
    if not isinstance(credentials, Basic):
        raise Unauthorized("the token endpoint takes Basic credentials only")
    return await call.services.access.sign_in(
        credentials.username, credentials.password, call.origin.client
    )


async def _read_form(call: Call) -> Query:
    """Read by hand: the multipart parsers of frameworks have had holes."""
    content_type = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise RequestInvalid("send the token request as application/x-www-form-urlencoded")
    content = await call.body.read(MAX_FORM, RequestInvalid("the token request is too long"))
    return Query.parse(content.strip())


def _answer(call: Call, parameters: Query, signed_in: SignedIn) -> Response:
    """Neither ``issued_at`` nor a refresh token: clients compare times with their own clocks."""
    access = call.services.access
    token = access.issue(signed_in, parse_scopes(parameters.all("scope")))
    return answer_json(
        {
            "token": token,
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(access.signer.lifetime.total_seconds()),
        },
        headers={"Cache-Control": "no-store"},
    )
