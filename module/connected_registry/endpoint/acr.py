"""Azure's metadata API, reading only: what its tools and our own child replicas list by.

One page of ``_tags`` tells a child every digest of a repository, where the plain listing would
cost it one request a tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from starlette.responses import Response

from connected_registry.endpoint.answer import answer_json
from connected_registry.endpoint.freshness import TagFreshness
from connected_registry.endpoint.services import Call
from connected_registry.errors import ManifestUnknown, RequestInvalid
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.mode import Mode
from connected_registry.storage.content import ManifestDetails, Page, TagDetails

Item = TypeVar("Item", TagDetails, ManifestDetails)

_ORDERS: Final = frozenset({"", "none", "timedesc", "timeasc"})


async def list_catalog(call: Call) -> Response:
    """As ``/v2/_catalog``."""
    limit = call.query.limit()
    text = call.query.one("last")
    page = await asyncio.to_thread(
        call.services.registry.list_repositories,
        RepositoryName.parse(text) if text else None,
        limit,
        call.principal.may_list,
    )
    link = call.link("/acr/v1/_catalog", page.next, limit)
    return answer_json({"repositories": page.items}, headers=link)


async def get_repository(call: Call) -> Response:
    """Counts and times of one repository."""
    manifests = await _every_manifest(call)
    tags = await _every_tag(call)
    times = [manifest.pushed_at for manifest in manifests]
    changes = [*times, *(tag.updated_at for tag in tags)]
    return answer_json(
        {
            **_head(call),
            "createdTime": _time(min(times, default=None)),
            "lastUpdateTime": _time(max(changes, default=None)),
            "manifestCount": len(manifests),
            "tagCount": len(tags),
            "changeableAttributes": _attributes(call),
        }
    )


async def list_tags(call: Call) -> Response:
    """Tags with digests and times; ``digest`` keeps those that name it."""
    digest = call.query.one("digest")
    wanted = Digest.parse(digest) if digest else None
    text = call.query.one("last")
    last = Tag.parse(text) if text else None
    limit, order = call.query.limit(), _order(call)
    if wanted is None and order == "none":
        page = await asyncio.to_thread(
            call.services.registry.tag_details, call.repository, last, limit
        )
    else:
        tags = [tag for tag in await _every_tag(call) if wanted in (None, tag.digest)]
        page = _cut(_sorted(tags, order, lambda tag: tag.updated_at), last, limit, _tag_name)
    link = call.link(f"/acr/v1/{call.repository}/_tags", page.next, limit)
    known = await asyncio.to_thread(_freshness, call)
    tags_shown = [_tag(call, tag, known) for tag in page.items]
    return answer_json({**_head(call), "tags": tags_shown}, headers=link)


async def get_tag(call: Call) -> Response:
    """One tag. Raises `ManifestUnknown`."""
    for tag in await _every_tag(call):
        if tag.name == call.reference:
            known = await asyncio.to_thread(_freshness, call)
            return answer_json({**_head(call), "tag": _tag(call, tag, known)})
    raise ManifestUnknown(detail={"name": call.repository, "tag": call.reference})


async def list_manifests(call: Call) -> Response:
    """Manifests with their tags, sizes and times."""
    text = call.query.one("last")
    last = Digest.parse(text) if text else None
    limit, order = call.query.limit(), _order(call)
    if order == "none":
        page = await asyncio.to_thread(
            call.services.registry.manifest_details, call.repository, last, limit
        )
    else:
        manifests = _sorted(await _every_manifest(call), order, lambda each: each.pushed_at)
        page = _cut(manifests, last, limit, _manifest_name)
    link = call.link(f"/acr/v1/{call.repository}/_manifests", page.next, limit)
    manifests_shown = [_manifest(call, manifest) for manifest in page.items]
    return answer_json({**_head(call), "manifests": manifests_shown}, headers=link)


async def get_manifest(call: Call) -> Response:
    """One manifest. Raises `ManifestUnknown`."""
    for manifest in await _every_manifest(call):
        if manifest.digest == call.digest:
            return answer_json({**_head(call), "manifest": _manifest(call, manifest)})
    raise ManifestUnknown(detail={"name": call.repository, "digest": call.digest})


async def _every_tag(call: Call) -> tuple[TagDetails, ...]:
    page = await asyncio.to_thread(call.services.registry.tag_details, call.repository)
    return page.items


async def _every_manifest(call: Call) -> tuple[ManifestDetails, ...]:
    page = await asyncio.to_thread(call.services.registry.manifest_details, call.repository)
    return page.items


def _order(call: Call) -> str:
    order = call.query.one("orderby") or ""
    if order not in _ORDERS:
        raise RequestInvalid(f"orderby {order[:50]!r} is not none, timedesc or timeasc")
    return order or "none"


def _sorted(items: Iterable[Item], order: str, time: Callable[[Item], datetime]) -> list[Item]:
    return list(items) if order == "none" else sorted(items, key=time, reverse=order == "timedesc")


def _cut(
    items: list[Item], last: str | None, limit: int, name: Callable[[Item], str]
) -> Page[Item]:
    """The page after the item called ``last``, wherever the order puts it; all where it is gone."""
    names = [name(item) for item in items]
    start = names.index(last) + 1 if last in names else 0
    page = tuple(items[start : start + limit])
    return Page(page, name(page[-1]) if page and start + limit < len(items) else None)


def _tag_name(tag: TagDetails) -> str:
    return tag.name


def _manifest_name(manifest: ManifestDetails) -> str:
    return manifest.digest


def _head(call: Call) -> dict[str, str]:
    return {"registry": call.origin.host, "imageName": call.repository}


def _attributes(call: Call) -> dict[str, bool]:
    """Azure's locks, which a replica does not have; what they allow follows from its mode."""
    writable = call.services.mode() is Mode.READ_WRITE
    return {
        "deleteEnabled": writable,
        "writeEnabled": writable,
        "readEnabled": True,
        "listEnabled": True,
    }


def _freshness(call: Call) -> Mapping[str, TagFreshness]:
    source = call.services.freshness
    return source.listing(call.repository) if source is not None else {}


def _tag(call: Call, tag: TagDetails, known: Mapping[str, TagFreshness]) -> dict[str, Any]:
    shown = _plain_tag(call, tag)
    fresh = known.get(tag.name)
    if fresh is not None:
        # Ours, not Azure's: whether the parent's tag named the same when it was last asked.
        shown["inSync"] = fresh.in_sync
        shown["confirmedTime"] = _time(fresh.confirmed_at)
    return shown


def _plain_tag(call: Call, tag: TagDetails) -> dict[str, Any]:
    return {
        "name": tag.name,
        "digest": tag.digest,
        "createdTime": _time(tag.created_at),
        "lastUpdateTime": _time(tag.updated_at),
        "signed": False,
        "changeableAttributes": _attributes(call),
    }


def _manifest(call: Call, manifest: ManifestDetails) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "digest": manifest.digest,
        "imageSize": manifest.image_size,
        "createdTime": _time(manifest.pushed_at),
        "lastUpdateTime": _time(manifest.pushed_at),
        "mediaType": manifest.media_type,
        "tags": manifest.tags,
        "changeableAttributes": _attributes(call),
    }
    if manifest.artifact_type is not None:
        shown["artifactType"] = manifest.artifact_type
    return shown


def _time(moment: datetime | None) -> str | None:
    """RFC 3339 with microseconds, as Azure writes it."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
