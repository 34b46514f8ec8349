"""When an image was made, as it says itself; for rules that want only the newest."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from connected_registry.errors import ManifestInvalid
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Kind, Manifest

MAX_CONFIG: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 8

Read = Callable[[Digest], bytes | None]


def created(content: bytes, media_type: str, read: Read, depth: int = 0) -> datetime | None:
    """By annotation, else by the config, of an index by its first image; None where unknown."""
    try:
        manifest = Manifest.parse(content, media_type)
    except ManifestInvalid:
        return None
    if manifest.created is not None:
        return manifest.created
    if manifest.kind is Kind.INDEX:
        for child in manifest.children:
            inner = read(child.digest) if child.attestation_for is None else None
            if inner is not None and depth < MAX_DEPTH:
                return created(inner, child.media_type, read, depth + 1)
        return None
    if manifest.config is None or manifest.config.size > MAX_CONFIG:
        return None
    config = read(manifest.config.digest)
    return None if config is None else _from_config(config)


def _from_config(config: bytes) -> datetime | None:
    try:
        document = json.loads(config)
        text = document.get("created") if isinstance(document, dict) else None
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, RecursionError):
        return None
