"""A collection that dies at a chosen durable step; see `test_collection_crash`.

``python -m faults.collection_victim SOURCE DIRECTORY`` copies the folder ``SOURCE`` to
``DIRECTORY/1`` and collects there until the first step, to ``DIRECTORY/2`` until the second, and so
on until one collection gets to its end.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from connected_registry.oci.digest import Digest
from connected_registry.storage.collection import Collector
from storage.store import open_store


def run(folder: Path, last: int) -> None:
    """Collect, and die without a trace at durable step number ``last``."""
    steps = 0

    def checkpoint(_step: str) -> None:
        nonlocal steps
        steps += 1
        if steps == last:
            os._exit(9)

    def after(work: Callable[[Digest], None]) -> Callable[[Digest], None]:
        def removing(digest: Digest) -> None:
            work(digest)
            checkpoint("removed")

        return removing

    with open_store(folder, checkpoint=checkpoint) as store:
        store.clock.pass_by(days=30)
        store.blobs._unlink = after(store.blobs._unlink)  # type: ignore[method-assign]
        Collector(
            store.folder,
            store.database,
            store.blobs,
            store.registry,
            store.ledger,
            clock=store.clock,
            batch=2,
        ).collect()


def main(source: Path, root: Path) -> None:
    """Die at every step in turn."""
    last = 0
    while True:
        last += 1
        folder = root / str(last)
        shutil.copytree(source, folder)
        child = os.fork()
        if child == 0:
            try:
                run(folder, last)
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return
        if code != 9:
            raise SystemExit(f"run {last} ended with {code}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
