"""The memory: bounded, and never behind."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.cache import Cache
from connected_registry.storage.content import StoredBlob, StoredManifest
from storage.store import REPOSITORY

V1 = Tag("v1")


def manifest(content: bytes) -> StoredManifest:
    """A stored manifest of that content."""
    return StoredManifest(
        REPOSITORY,
        Digest.of(content),
        "application/json",
        len(content),
        content,
        None,
        None,
        datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    """A slow reader cannot bring the old answer back."""
    cache = Cache(1 << 20)
    changes = cache.changes()
    cache.drop(REPOSITORY, tags=[V1])
    cache.keep_manifest(changes, V1, manifest(b"old"))
    cache.keep_blob(changes, REPOSITORY, StoredBlob(Digest.of(b"old"), 3, Path("/")))
    assert cache.manifest(REPOSITORY, V1) is None
    assert cache.blob(REPOSITORY, Digest.of(b"old")) is None


def test_a_dropped_manifest_is_gone_by_every_name() -> None:
    """Also by tags that were not named."""
    cache, kept = Cache(1 << 20), manifest(b"x")
    cache.keep_manifest(0, V1, kept)
    assert cache.manifest(REPOSITORY, kept.digest) is kept
    cache.drop(REPOSITORY, digests=[kept.digest])
    assert cache.manifest(REPOSITORY, V1) is None


def test_the_least_recently_used_make_room() -> None:
    """The bound is in bytes, content and overhead together."""
    cache = Cache(3 * (1024 + 1000))
    kept = [manifest(bytes([number]) * 1000) for number in range(4)]
    for each in kept[:3]:
        cache.keep_manifest(0, each.digest, each)
    cache.manifest(REPOSITORY, kept[0].digest)
    cache.keep_manifest(0, kept[3].digest, kept[3])
    found = [cache.manifest(REPOSITORY, each.digest) for each in kept]
    assert found == [kept[0], None, kept[2], kept[3]]


def test_one_too_large_does_not_push_the_others_out() -> None:
    """It is simply not kept."""
    cache, small = Cache(5000), manifest(b"small")
    cache.keep_manifest(0, V1, small)
    cache.keep_manifest(0, Tag("big"), manifest(b"x" * 5000))
    assert cache.manifest(REPOSITORY, V1) is small
    assert cache.manifest(REPOSITORY, Tag("big")) is None


def test_keeping_again_counts_once() -> None:
    """By a second tag, the same bytes are not counted twice."""
    cache, kept = Cache(2 * (1024 + 1000)), [manifest(bytes([n]) * 1000) for n in range(2)]
    for tag in ("a", "b", "c"):
        cache.keep_manifest(0, Tag(tag), kept[0])
    cache.keep_manifest(0, V1, kept[1])
    assert cache.manifest(REPOSITORY, Tag("a")) is kept[0]
    assert cache.manifest(REPOSITORY, V1) is kept[1]


def test_clearing_forgets_everything() -> None:
    """And what readers were about to add."""
    cache = Cache(1 << 20)
    cache.keep_manifest(0, V1, manifest(b"x"))
    cache.clear()
    cache.keep_manifest(0, V1, manifest(b"x"))
    assert cache.manifest(REPOSITORY, V1) is None
