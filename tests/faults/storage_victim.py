"""A storage process that dies at a chosen durable step; see `test_storage_crash`.

``python -m faults.storage_victim DIRECTORY`` runs the scenario in ``DIRECTORY/1`` and dies at its
first step, in ``DIRECTORY/2`` at its second, and so on until one run gets to its end. Beside each
folder, ``N.acknowledged`` lists what the run was told is done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.storage.migrations import upgrade  # noqa: F401 - imported once, not by each
from storage.store import REPOSITORY, Store, image, multi_platform, open_store

FIRST = image(b"first layer")
SECOND = image(b"second layer")
INDEX, CHILDREN = multi_platform(["linux/amd64", "linux/arm64"])
SPARE = b"a blob that no image names"
TAG = Tag("latest")

Step = tuple[str, Callable[[Store], object]]


def sync_index(store: Store) -> None:
    """Fetch and show the index as the sync does."""
    blobs = {blob for child in CHILDREN.values() for blob in child.blobs}
    for blob in sorted(blobs):
        with store.blobs.partial(Digest.of(blob), len(blob)) as partial:
            for at in range(partial.offset, len(blob), 4):
                partial.write(blob[at : at + 4])
            partial.finish()
    parts = (*CHILDREN.values(), INDEX)
    commit = INDEX.commit("latest", "synced")
    store.registry.commit_image(
        type(commit)(
            commit.repository,
            commit.tags,
            commit.root,
            tuple((part.digest, part.media_type, part.content) for part in parts),
            tuple((Digest.of(blob), len(blob)) for blob in blobs),
        )
    )


STEPS: tuple[Step, ...] = (
    ("opened", lambda store: None),
    ("first pushed", lambda store: store.push(FIRST, TAG)),
    ("second pushed", lambda store: store.push(SECOND, TAG)),
    ("synced", sync_index),
    ("spare pushed", lambda store: store.push_blob(SPARE)),
    ("spare deleted", lambda store: store.registry.delete_blob(REPOSITORY, Digest.of(SPARE))),
    ("tag deleted", lambda store: store.registry.delete_tag(REPOSITORY, Tag("synced"))),
    ("first deleted", lambda store: store.registry.delete_manifest(REPOSITORY, FIRST.digest)),
    ("remembered", lambda store: store.ledger.put("key", {"kept": True})),
    ("indexed", lambda store: store.layout.write()),
)
"""What a run does in order, by the words it is acknowledged with."""


def run(folder: Path, last: int) -> None:
    """Run the scenario and die without a trace at durable step number ``last``."""
    steps = 0

    def checkpoint(_step: str) -> None:
        nonlocal steps
        steps += 1
        if steps == last:
            os._exit(9)

    log = os.open(folder.with_suffix(".acknowledged"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with open_store(folder, checkpoint=checkpoint) as store:
        for name, step in STEPS:
            step(store)
            os.write(log, f"{name}\n".encode())


def main() -> None:
    """Fork a run for each step until one ends well."""
    root = Path(sys.argv[1])
    for number in range(1, 1000):
        child = os.fork()
        if child == 0:
            run(root / str(number), number)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return
        if status != 9:
            sys.exit(f"run {number} ended with {status}")


if __name__ == "__main__":
    main()
