"""Manifests: pulled, pushed and deleted by tag or digest, their bytes never touched."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from connected_registry.endpoint.answer import entity_tag, is_known
from connected_registry.endpoint.freshness import freshness_headers, recall_freshness_headers
from connected_registry.endpoint.services import Call, Pull
from connected_registry.errors import AddressTooLong, ManifestInvalid, ManifestTooLarge
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import MAX_MANIFEST
from connected_registry.oci.reference import Tag
from connected_registry.storage.content import StoredManifest

MAX_TAGS: Final = 50
"""Most ``tag`` parameters of one push."""


async def get_manifest(call: Call) -> Response:
    """What the reference names, whatever ``Accept`` says; 304 where the client has it."""
    registry, services = call.services.registry, call.services
    manifest = registry.cached(call.repository, call.reference)
    if manifest is None:
        manifest = await asyncio.to_thread(registry.resolve, call.repository, call.reference)
    freshness = await freshness_headers(services.freshness, call.repository, call.reference)
    response, pull = _present(call, manifest, freshness)
    if pull is not None and services.usage is not None:
        services.usage(pull)
    return response


def recall_manifest(call: Call) -> tuple[Response, Pull | None] | None:
    """The same answer, and what is to be told of it, if all of it is in memory."""
    manifest = call.services.registry.cached(call.repository, call.reference)
    if manifest is None:
        return None
    freshness = recall_freshness_headers(call.services.freshness, call.repository, call.reference)
    return None if freshness is None else _present(call, manifest, freshness)


def _present(
    call: Call, manifest: StoredManifest, freshness: dict[str, str]
) -> tuple[Response, Pull | None]:
    headers = {
        "Docker-Content-Digest": manifest.digest,
        "ETag": entity_tag(manifest.digest),
        "Content-Type": manifest.media_type,
        **freshness,
    }
    if is_known(call.header("if-none-match"), manifest.digest):
        return Response(status_code=304, headers=headers), None
    pull = Pull("manifest", call.repository, call.reference, manifest.size, call.principal)
    return Response(manifest.content, headers=headers), None if call.is_head else pull


async def put_manifest(call: Call) -> Response:
    """Store a manifest under its digest, the tag in the path, and every ``tag`` parameter."""
    tags = _tags(call)
    media_type = call.header("content-type") or ""
    if not media_type:
        raise ManifestInvalid("Content-Type is missing; send the manifest's media type")
    content = await call.body.read(MAX_MANIFEST, ManifestTooLarge())
    stored = await asyncio.to_thread(
        call.services.registry.put_manifest,
        call.repository,
        call.reference,
        media_type,
        content,
        tags=tags,
        sparse=call.services.sparse_pushes,
    )
    headers = {
        "Location": f"/v2/{call.repository}/manifests/{stored.digest}",
        "Docker-Content-Digest": stored.digest,
    }
    if stored.subject is not None:
        headers["OCI-Subject"] = stored.subject
    if tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Response(status_code=201, headers=headers)


async def delete_manifest(call: Call) -> Response:
    """By tag only the tag goes; by digest the manifest with every tag that names it."""
    registry = call.services.registry
    if isinstance(call.reference, Digest):
        await asyncio.to_thread(
            registry.delete_manifest, call.repository, call.reference, upward=True
        )
    else:
        await asyncio.to_thread(registry.delete_tag, call.repository, call.reference, upward=True)
    return Response(status_code=202)


def _tags(call: Call) -> tuple[Tag, ...]:
    """The ``tag`` parameters, which belong to a push by digest; elsewhere they mean nothing."""
    if not isinstance(call.reference, Digest):
        return ()
    texts = dict.fromkeys(call.query.all("tag"))
    if len(texts) > MAX_TAGS:
        raise AddressTooLong(f"one push takes at most {MAX_TAGS} tag parameters")
    return tuple(Tag.parse(text) for text in texts)
