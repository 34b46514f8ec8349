"""Asking a token server for a bearer token, as a generator: it yields requests, takes answers.

Forms: the distribution specification's "Token Authentication" (GET), its OAuth 2 variant (POST),
and Azure's ``/oauth2/token``, which speaks both.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from connected_registry.errors import ParentFailed, ParentUnauthorized
from connected_registry.parent.answer import Answer, name_request, refusal
from connected_registry.parent.credentials import Credentials

CLIENT_ID: Final = "connected-registry"
DEFAULT_LIFETIME: Final = 60.0
"""Seconds that a token lives whose answer does not say."""
LONGEST_TOKEN: Final = 256 * 1024
NO_SUCH_FORM: Final = frozenset({400, 404, 405, 415})
"""Statuses by which token servers say that they do not speak the form we asked in."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Where to ask and for what. ``scope`` is as the challenge gave it, words with spaces."""

    realm: httpx.URL
    service: str
    scope: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A token and how many seconds it lives."""

    value: str
    lifetime: float

    def __repr__(self) -> str:
        return f"Granted(lifetime={self.lifetime})"


def ask_for_token(
    wanted: TokenRequest,
    credentials: Credentials | None,
    headers: Mapping[str, str],
    extensions: dict[str, Any],
) -> Generator[httpx.Request, httpx.Response, Granted]:
    """Yield one request, or two where the server does not know the first form.

    An identity token goes by POST and falls back to GET; a password the other way round; without
    credentials there is only GET. Answers sent in must have been read. Raises a `ParentError`.
    """
    forms = [_get(wanted, credentials)]
    if credentials is not None:
        forms.append(_post(wanted, credentials))
        if credentials.is_identity_token:
            forms.reverse()
            if not credentials.username:
                forms.pop()
    while True:
        form = forms.pop(0)
        form.headers.update(headers)
        form.headers["Accept"] = "application/json"
        form.extensions = extensions
        response = yield form
        answer = Answer(
            name_request(form.method, form.url),
            form.url,
            response.status_code,
            response.headers,
            response.content,
        )
        if response.is_success:
            return _parse(answer)
        if not forms or answer.status not in NO_SUCH_FORM:
            raise _refused(answer, credentials)


def _get(wanted: TokenRequest, credentials: Credentials | None) -> httpx.Request:
    query: list[tuple[str, str | int | float | bool | None]] = [*wanted.realm.params.multi_items()]
    if wanted.service:
        query.append(("service", wanted.service))
    query += [("scope", scope) for scope in wanted.scope.split()]
    headers = {}
    if credentials is not None:
        query += [("account", credentials.username), ("client_id", CLIENT_ID)]
        headers["Authorization"] = credentials.basic()
    return httpx.Request(
        "GET", wanted.realm.copy_with(params=httpx.QueryParams(query)), headers=headers
    )


def _post(wanted: TokenRequest, credentials: Credentials) -> httpx.Request:
    secret = credentials.password.get_secret_value()
    form = {"service": wanted.service, "scope": wanted.scope, "client_id": CLIENT_ID}
    if credentials.is_identity_token:
        form |= {"grant_type": "refresh_token", "refresh_token": secret}
    else:
        form |= {"grant_type": "password", "username": credentials.username, "password": secret}
    return httpx.Request("POST", wanted.realm, data=form)


def _refused(answer: Answer, credentials: Credentials | None) -> Exception:
    error = refusal(answer, own=True)
    if isinstance(error, ParentUnauthorized):
        who = "without a user name" if credentials is None else f"as {credentials.username!r}"
        return ParentUnauthorized(f"the token server does not let us in {who}: {error}")
    if answer.status == 404:
        return ParentFailed(f"there is no token server where the parent said: {error}")
    return error


def _parse(answer: Answer) -> Granted:
    try:
        document = json.loads(answer.content)
        token = document.get("token") or document.get("access_token")
        lifetime = document.get("expires_in") or DEFAULT_LIFETIME
    except (ValueError, RecursionError, AttributeError):
        token = lifetime = None
    if (
        not isinstance(token, str)
        or not 0 < len(token) <= LONGEST_TOKEN
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise ParentFailed(f"the answer to {answer.asked} holds no token")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
        lifetime = DEFAULT_LIFETIME
    return Granted(token, float(lifetime))
