"""The addresses of the status page. They look at credentials themselves: browsers send cookies.

Everything here answers in HTML, refusals too, and works without JavaScript.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import structlog
from starlette.responses import Response

from connected_registry.endpoint.access import EVERYONE, Principal
from connected_registry.endpoint.answer import is_known
from connected_registry.endpoint.page.forms import (
    read_form,
    refuse_other_sites,
    refuse_rebound_names,
)
from connected_registry.endpoint.page.render import PROTECTION, answer, answer_file
from connected_registry.endpoint.page.session import cookie
from connected_registry.endpoint.page.site import (
    DEEDS,
    Deed,
    StatusPage,
    deeds_now,
    may_act,
    may_look,
    sees_everything,
)
from connected_registry.endpoint.page.view import narrow, view
from connected_registry.endpoint.services import Call
from connected_registry.errors import (
    AddressUnknown,
    Denied,
    RegistryError,
    StorageError,
    Unauthorized,
)
from connected_registry.policy.access import Action

SIGN_IN: Final = "/_/sign-in"

Handler = Callable[[Call], Awaitable[Response]]

_log = structlog.stdlib.get_logger(__name__)


class Reader(NamedTuple):
    """Who looks at the page. ``renewed`` is a fresh session cookie for one that grows old."""

    principal: Principal
    name: str
    has_session: bool = False
    renewed: str | None = None


def _in_html(handler: Handler) -> Handler:
    """Refusals as pages of their own."""

    @functools.wraps(handler)
    async def handled(call: Call) -> Response:
        page = call.services.page
        if page is None:
            raise AddressUnknown
        try:
            return await handler(call)
        except Unauthorized as error:
            realm = f'Basic realm="{call.origin.host}", charset="UTF-8"'
            return _message(page, error, {"WWW-Authenticate": realm})
        except RegistryError as error:
            return _message(page, error, error.headers)
        except StorageError as error:
            _log.error("page.storage_failed", error=str(error))
            text = "The store cannot be used at the moment; see the log on site."
            return answer(
                page.renderer.text("message.html", {"title": "Not now", "text": text}), status=503
            )

    return handled


def _message(page: StatusPage, error: RegistryError, headers: dict[str, str]) -> Response:
    title = {401: "Sign in", 403: "Not allowed", 404: "Not found", 429: "Wait a moment"}
    values = {
        "title": title.get(error.status, "Not done"),
        "text": f"{error.text[:1].upper()}{error.text[1:]}.",
    }
    return answer(page.renderer.text("message.html", values), status=error.status, headers=headers)


@_in_html
async def get_status(call: Call) -> Response:
    """The page; for htmx only its changing part, and nothing (204) where that is as it was."""
    page = _page(call)
    partial = call.header("hx-request") == "true"
    reader = await _reader(call, renew=not partial)
    if reader is None:
        # A redirect would be followed inside the page; this makes the browser load it anew.
        return answer("", headers={"HX-Refresh": "true"}) if partial else _see(SIGN_IN)
    _check(call, reader)
    facts = await page.facts(fresh=call.query.one("done") is not None)
    shown = narrow(
        facts,
        lambda name: reader.principal.may(Action.METADATA_READ, name),
        everything=sees_everything(reader.principal),
    )
    values: dict[str, Any] = {
        "facts": shown,
        "view": view(shown),
        "deeds": deeds_now(shown) if may_act(reader.principal, call.services.access) else (),
        "reader": reader,
    }
    # A quiet site stays quiet: nothing moves, and screen readers have nothing to repeat.
    live = page.renderer.text("live.html", {**values, "seen": ""})
    seen = hashlib.sha256(live.encode()).hexdigest()[:16]
    if partial and call.query.one("seen") == seen:
        return Response(status_code=204, headers={**PROTECTION, "Cache-Control": "no-store"})
    values["seen"] = seen
    if partial:
        return answer(page.renderer.text("live.html", values))
    deed = DEEDS.get(call.query.one("done") or "")
    values["notice"] = deed.done if deed is not None else ""
    headers = {"Set-Cookie": reader.renewed} if reader.renewed is not None else {}
    return answer(page.renderer.text("status.html", values), headers=headers)


@_in_html
async def get_sign_in(call: Call) -> Response:
    """The form; whoever is signed in goes on to the page."""
    if await _reader(call) is not None:
        return _see("/")
    return _sign_in_form(call)


@_in_html
async def post_sign_in(call: Call) -> Response:
    """Check user name and password; a cookie and the page for the right ones."""
    access, page = call.services.access, _page(call)
    form = await read_form(call)
    name, password = form.get("name", "").strip(), form.get("password", "")
    if not (name and password):
        return _sign_in_form(call, name, "Enter the token's name and its password.", 400)
    try:
        signed_in = await access.sign_in(name, password, call.origin.client)
    except Unauthorized:
        return _sign_in_form(call, name, "No token has this name and password.", 403)
    if access.is_open:
        return _see("/")
    if not may_look(signed_in.principal, access):
        raise _blind(name)
    value = cookie(page.sessions.seal(signed_in), secure=call.origin.scheme == "https")
    return _see("/", {"Set-Cookie": value})


@_in_html
async def post_sign_out(call: Call) -> Response:
    """Forget the cookie."""
    refuse_other_sites(call)
    gone = cookie("", secure=call.origin.scheme == "https")
    return _see(SIGN_IN, {"Set-Cookie": gone})


@_in_html
async def get_deed(call: Call) -> Response:
    """Ask whether it is meant, in words that say what will happen."""
    deed, reader = await _allowed_deed(call)
    values = {
        "deed": deed,
        "reader": reader,
        "token": _page(call).sessions.form_token(reader.name),
    }
    return answer(_page(call).renderer.text("confirm.html", values))


@_in_html
async def post_deed(call: Call) -> Response:
    """Do it, once the form that was asked with comes back."""
    deed, reader = await _allowed_deed(call)
    form = await read_form(call)
    page = _page(call)
    if not page.sessions.takes(form.get("token", ""), reader.name):
        raise Denied("the form is too old or was not made for you; open it again")
    status, body = await page.invoke(deed.method, None)
    _log.info("page.action", method=deed.method, reader=reader.name, status=status)
    if status < 300:
        return _see(f"/?done={deed.name}")
    values = {"title": "Not done", "text": f"{deed.label}: {body.get('error', 'it failed')}."}
    return answer(page.renderer.text("message.html", values), status=max(status, 400))


async def get_file(call: Call) -> Response:
    """A style sheet, script or picture; nothing secret."""
    page = call.services.page
    file = page.renderer.files.get(call.target.part or "") if page is not None else None
    if file is None:
        raise AddressUnknown
    return answer_file(file, known=is_known(call.header("if-none-match"), file.mark))


def _page(call: Call) -> StatusPage:
    assert call.services.page is not None
    return call.services.page


async def _reader(call: Call, *, renew: bool = False) -> Reader | None:
    """Whoever looks: anyone where the replica is open, else by header or by cookie."""
    access, page = call.services.access, _page(call)
    if access.is_open:
        refuse_rebound_names(call)
        return Reader(EVERYONE, "")
    if call.header("authorization") is not None:
        principal = await access.authenticate(call.request.scope["headers"], call.origin.client)
        return None if principal.is_anonymous else Reader(principal, principal.name)
    found = page.sessions.read(call.header("cookie"), access)
    if found is None:
        return None
    renewed = None
    if renew:
        value = page.sessions.seal(found)
        renewed = cookie(value, secure=call.origin.scheme == "https")
    return Reader(found.principal, found.principal.name, True, renewed)


def _check(call: Call, reader: Reader) -> None:
    if not may_look(reader.principal, call.services.access):
        raise _blind(reader.name)


def _blind(name: str) -> Denied:
    return Denied(f"the token {name!r} may not see this page: its scope map needs metadata/read")


async def _allowed_deed(call: Call) -> tuple[Deed, Reader]:
    reader = await _reader(call)
    if reader is None:
        raise Unauthorized
    _check(call, reader)
    deed = DEEDS.get(call.target.part or "")
    if deed is None:
        raise AddressUnknown
    if not may_act(reader.principal, call.services.access):
        raise Denied(
            f"the token {reader.name!r} may look but not act: that needs metadata/write or "
            "content/write on all repositories"
        )
    return deed, reader


def _sign_in_form(call: Call, name: str = "", error: str = "", status: int = 200) -> Response:
    values = {"host": call.origin.host, "name": name[:64], "error": error}
    return answer(_page(call).renderer.text("sign_in.html", values), status=status)


def _see(address: str, headers: dict[str, str] | None = None) -> Response:
    """On to another page."""
    moved = {**PROTECTION, "Cache-Control": "no-store", "Location": address}
    return Response(status_code=303, headers={**moved, **(headers or {})})
