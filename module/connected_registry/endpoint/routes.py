"""Which handler answers which method on which resource, and what the caller needs for it.

The table is the whole of it: what is not in it does not exist, and no route is without a need.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Final, NamedTuple

from starlette.responses import Response

from connected_registry.endpoint import acr, blobs, health, listings, manifests, token, uploads
from connected_registry.endpoint.page import handlers as page
from connected_registry.endpoint.services import Call
from connected_registry.endpoint.target import Resource
from connected_registry.errors import Unsupported
from connected_registry.policy.access import Action

Handler = Callable[[Call], Awaitable[Response]]


class Gate(Enum):
    """What a route needs that is not an action on a repository."""

    NOTHING = auto()
    """The handler looks at credentials itself, or there are none to look at."""
    ANYONE = auto()
    """Who the caller is matters to the answer, not to whether there is one."""
    PRESENCE = auto()
    """Credentials must be shown, be they nobody's."""
    CATALOG = auto()
    """The caller may list what it may pull."""


class Route(NamedTuple):
    """One entry of the table."""

    handler: Handler
    need: Action | Gate

    @property
    def changes_content(self) -> bool:
        """Whether a ReadOnly replica refuses it."""
        return self.need in _CHANGES


_CHANGES: Final = frozenset({Action.CONTENT_WRITE, Action.CONTENT_DELETE, Action.METADATA_WRITE})

ROUTES: Final[dict[Resource, dict[str, Route]]] = {
    Resource.VERSION: {"GET": Route(listings.get_version, Gate.PRESENCE)},
    Resource.CATALOG: {"GET": Route(listings.list_catalog, Gate.CATALOG)},
    Resource.TAGS: {"GET": Route(listings.list_tags, Action.METADATA_READ)},
    Resource.MANIFEST: {
        "GET": Route(manifests.get_manifest, Action.CONTENT_READ),
        "PUT": Route(manifests.put_manifest, Action.CONTENT_WRITE),
        "DELETE": Route(manifests.delete_manifest, Action.CONTENT_DELETE),
    },
    Resource.BLOB: {
        "GET": Route(blobs.get_blob, Action.CONTENT_READ),
        "DELETE": Route(blobs.delete_blob, Action.CONTENT_DELETE),
    },
    Resource.UPLOADS: {"POST": Route(uploads.start_upload, Action.CONTENT_WRITE)},
    Resource.UPLOAD: {
        "GET": Route(uploads.upload_status, Action.CONTENT_WRITE),
        "PATCH": Route(uploads.add_chunk, Action.CONTENT_WRITE),
        "PUT": Route(uploads.finish_upload, Action.CONTENT_WRITE),
        "DELETE": Route(uploads.cancel_upload, Action.CONTENT_WRITE),
    },
    Resource.REFERRERS: {"GET": Route(listings.list_referrers, Action.CONTENT_READ)},
    Resource.TOKEN: {
        "GET": Route(token.get_token, Gate.NOTHING),
        "POST": Route(token.post_token, Gate.NOTHING),
    },
    Resource.EXCHANGE: {
        "GET": Route(token.refuse_exchange, Gate.NOTHING),
        "POST": Route(token.refuse_exchange, Gate.NOTHING),
    },
    Resource.ACR_CATALOG: {"GET": Route(acr.list_catalog, Gate.CATALOG)},
    Resource.ACR_REPOSITORY: {"GET": Route(acr.get_repository, Action.METADATA_READ)},
    Resource.ACR_TAGS: {"GET": Route(acr.list_tags, Action.METADATA_READ)},
    Resource.ACR_TAG: {"GET": Route(acr.get_tag, Action.METADATA_READ)},
    Resource.ACR_MANIFESTS: {"GET": Route(acr.list_manifests, Action.METADATA_READ)},
    Resource.ACR_MANIFEST: {"GET": Route(acr.get_manifest, Action.METADATA_READ)},
    Resource.HEALTH: {"GET": Route(health.get_health, Gate.ANYONE)},
    Resource.PAGE: {"GET": Route(page.get_status, Gate.NOTHING)},
    Resource.PAGE_SIGN_IN: {
        "GET": Route(page.get_sign_in, Gate.NOTHING),
        "POST": Route(page.post_sign_in, Gate.NOTHING),
    },
    Resource.PAGE_SIGN_OUT: {"POST": Route(page.post_sign_out, Gate.NOTHING)},
    Resource.PAGE_DEED: {
        "GET": Route(page.get_deed, Gate.NOTHING),
        "POST": Route(page.post_deed, Gate.NOTHING),
    },
    Resource.PAGE_FILE: {"GET": Route(page.get_file, Gate.NOTHING)},
}


def find_route(resource: Resource, method: str) -> Route:
    """The entry for ``method``; HEAD is a GET without its body. Raises `Unsupported`."""
    methods = ROUTES[resource]
    route = methods.get("GET" if method == "HEAD" else method)
    if route is None:
        allowed = sorted({*methods, *(("HEAD",) if "GET" in methods else ())})
        raise Unsupported(headers={"Allow": ", ".join(allowed)})
    return route
