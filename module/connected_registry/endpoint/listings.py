"""Tags, the catalogue, and what refers to a manifest: pages with a Link to the next."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from starlette.responses import Response

from connected_registry.endpoint.answer import answer_json
from connected_registry.endpoint.services import Call
from connected_registry.oci.digest import Digest
from connected_registry.oci.media_type import OCI_INDEX
from connected_registry.oci.reference import RepositoryName, Tag

PAGE_BYTES: Final = 3 * 1024 * 1024
"""Most bytes of descriptors on one page of referrers: clients read no more than about 4 MiB."""

REFERRERS: Final = "artifactType"


async def get_version(_: Call) -> Response:
    """That this is a registry."""
    return answer_json({})


async def list_tags(call: Call) -> Response:
    """The repository's tags in byte order."""
    limit = call.query.limit()
    text = call.query.one("last")
    last = Tag.parse(text) if text else None
    page = await asyncio.to_thread(call.services.registry.list_tags, call.repository, last, limit)
    link = call.link(f"/v2/{call.repository}/tags/list", page.next, limit)
    return answer_json({"name": call.repository, "tags": page.items}, headers=link)


async def list_catalog(call: Call) -> Response:
    """The repositories that the caller may pull."""
    limit = call.query.limit()
    text = call.query.one("last")
    last = RepositoryName.parse(text) if text else None
    page = await asyncio.to_thread(
        call.services.registry.list_repositories, last, limit, call.principal.may_list
    )
    link = call.link("/v2/_catalog", page.next, limit)
    return answer_json({"repositories": page.items}, headers=link)


async def list_referrers(call: Call) -> Response:
    """An index of the manifests whose subject is the digest; empty where there are none.

    An ``artifactType`` parameter filters also when it is empty: then for those without one.
    """
    # A blank can only be a plus sign that the client left unencoded.
    wanted = call.query.one(REFERRERS)
    wanted = wanted.replace(" ", "+") if wanted is not None else None
    limit = call.query.limit()
    text = call.query.one("last")
    after = Digest.parse(text) if text else ""
    found = await asyncio.to_thread(
        call.services.registry.list_referrers, call.repository, call.digest, wanted or None
    )
    if wanted == "":
        found = [descriptor for descriptor in found if "artifactType" not in descriptor]
    page = _page([each for each in found if each["digest"] > after], limit)
    headers = {} if wanted is None else {"OCI-Filters-Applied": REFERRERS}
    if page and page[-1] is not found[-1]:
        path = f"/v2/{call.repository}/referrers/{call.digest}"
        headers |= call.link(path, page[-1]["digest"], limit)
    return answer_json(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page},
        media_type=OCI_INDEX,
        headers=headers,
    )


def _page(descriptors: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The first ones, up to ``limit`` and about `PAGE_BYTES`, but always one where there is one."""
    size = 0
    for number, descriptor in enumerate(descriptors[:limit]):
        size += len(json.dumps(descriptor, ensure_ascii=False).encode())
        if size > PAGE_BYTES and number:
            return descriptors[:number]
    return descriptors[:limit]
