from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from connected_registry.app.freshness import TagsOfParent
from connected_registry.endpoint.freshness import TagFreshness
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.ledger import ImageState
from storage.store import REPOSITORY, open_store

THEN = datetime(2026, 11, 20, tzinfo=UTC)
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


async def test_a_tag_is_as_old_as_its_confirmation(tmp_path: Path) -> None:
    """Read once, and again after news; a tag that fell behind keeps the moment it had."""
    with open_store(tmp_path / "data") as store:
        tags = TagsOfParent(store.ledger, lambda: None)
        assert await tags.of(REPOSITORY, Tag("1.0")) is None
        synced = ImageState(REPOSITORY, Tag("1.0"), ONE, ONE, "synced", confirmed_at=THEN)
        store.ledger.record_image(synced, store.clock())
        assert await tags.of(REPOSITORY, Tag("1.0")) is None
        tags.forget()
        assert await tags.of(REPOSITORY, Tag("1.0")) == TagFreshness(True, THEN)
        behind = ImageState(REPOSITORY, Tag("1.0"), TWO, ONE, "pending")
        store.ledger.record_image(behind, store.clock())
        tags.forget()

        assert await tags.of(REPOSITORY, Tag("1.0")) == TagFreshness(False, THEN)
        assert tags.listing(REPOSITORY) == {"1.0": TagFreshness(False, THEN)}
