"""What a browser sends with a form, and whether it was our own page that sent it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from connected_registry.endpoint.services import Call
from connected_registry.errors import Denied, RequestInvalid

_MOST: Final = 16 * 1024


async def read_form(call: Call) -> dict[str, str]:
    """The fields. Raises `Denied` for a form of another site, `RequestInvalid` for what is none."""
    refuse_other_sites(call)
    kind = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RequestInvalid("send the form as application/x-www-form-urlencoded")
    content = await call.body.read(_MOST, RequestInvalid("the form is too long"))
    try:
        fields = parse_qsl(
            content.decode(), keep_blank_values=True, errors="strict", max_num_fields=20
        )
    except ValueError:
        raise RequestInvalid("malformed form") from None
    return dict(fields)


def refuse_other_sites(call: Call) -> None:
    """Raise `Denied` when the browser says that another site's page makes this request.

    Programs that are no browsers say nothing, and have no cookie either.
    """
    site = call.header("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise Denied("this form was not sent by this replica's own page")
    source = call.header("origin")
    if source is not None and urlsplit(source).netloc.lower() != call.origin.host.lower():
        raise Denied("this form was not sent by this replica's own page")


def refuse_rebound_names(call: Call) -> None:
    """Raise `Denied` for a host name that anyone could let point here.

    A replica that is open to its own machine would else be open to every web page that a browser
    on it shows: such a page can give its own name our address. Addresses and ``localhost`` cannot
    be given away, nor can the configured login server's name.
    """
    host = call.origin.host
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    name = name.strip("[]").rstrip(".").lower()
    if call.services.origins.restricted or name == "localhost" or name.endswith(".localhost"):
        return
    try:
        ip_address(name)
    except ValueError:
        raise Denied(
            f"use http://localhost or an address instead of {name}, or set client tokens"
        ) from None
