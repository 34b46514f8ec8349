from __future__ import annotations

from pathlib import Path

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.ledger import ImageState, State
from connected_registry.storage.overview import Overview, RepositoryOverview
from storage.store import REPOSITORY, image, open_store

FAR = RepositoryName("far/away")


def state(repository: RepositoryName, tag: str, state: State) -> ImageState:
    """What the ledger knows of a tag."""
    return ImageState(repository, Tag(tag), Digest.of(b"wanted"), None, state)


def test_repositories_are_counted_by_what_the_sync_knows(tmp_path: Path) -> None:
    """Those that only have tags of their own are there too."""
    with open_store(tmp_path / "data") as store:
        overview = Overview(store.database, store.ledger)
        assert overview.repositories() == {}
        states: tuple[State, ...] = ("synced", "pending", "failed", "held back")
        store.ledger.record_images(
            [state(FAR, str(index), each) for index, each in enumerate(states)], store.clock()
        )
        store.push(image(b"a"), "1")
        store.push(image(b"b"), "2")
        last = store.clock.now
        found = overview.repositories()

    assert found[FAR] == RepositoryOverview(known=4, waiting=2, held_back=1)
    assert found[REPOSITORY] == RepositoryOverview(changed_at=last)


def test_the_first_missing_images_come_with_their_number(tmp_path: Path) -> None:
    """Those that failed before those that are only on their way."""
    with open_store(tmp_path / "data") as store:
        overview = Overview(store.database, store.ledger)
        images = [state(FAR, f"p{index}", "pending") for index in range(5)]
        images += [state(FAR, "z", "failed"), state(FAR, "here", "synced")]
        store.ledger.record_images(images, store.clock())
        first, total = overview.missing(3)

    assert total == 6
    assert [each.tag for each in first] == ["z", "p0", "p1"]
