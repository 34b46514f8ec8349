"""How answers look on the wire: errors in the OCI envelope, JSON, and what all have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from connected_registry.endpoint.origin import Origin
from connected_registry.errors import RegistryError, Unauthorized
from connected_registry.oci.challenge import Challenge, TokenScope, format_scopes

COMMON: Final = (
    (b"docker-distribution-api-version", b"registry/2.0"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every answer."""

TOKEN_PATH: Final = "/acr/oauth2/token"  # noqa: S105 - an address, not a secret


def answer_json(
    document: Any,
    *,
    status: int = 200,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """``document`` as compact JSON, Content-Type exactly as given."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, {"Content-Type": media_type, **(headers or {})})


def answer_error(error: RegistryError) -> Response:
    """The envelope with the error's own status and headers."""
    return answer_json(error.envelope(), status=error.status, headers=error.headers)


def entity_tag(digest: str) -> str:
    """The strong ETag of content: its digest, quoted."""
    return f'"{digest}"'


def is_known(if_none_match: str | None, digest: str) -> bool:
    """Whether the client says that it holds this content already (RFC 9110, section 13.1.2)."""
    if if_none_match is None or len(if_none_match) > 16_384:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or entity_tag(digest) in tags or digest in tags


def challenge(error: Unauthorized, origin: Origin) -> str:
    """The WWW-Authenticate header for ``error``.

    One scheme only: with two, clients disagree on which to take. The token endpoint is on the very
    origin that the client used, since some refuse any other.
    """
    parameters = {"realm": origin.url(TOKEN_PATH), "service": origin.host}
    scopes = [
        TokenScope(need["Type"], need["Name"], tuple(need["Action"].split(",")))
        for need in error.detail or ()
    ]
    if scopes:
        parameters["scope"] = format_scopes(scopes)
    if error.fault is not None:
        parameters["error"] = error.fault
    return str(Challenge("bearer", parameters))
