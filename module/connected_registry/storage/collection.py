"""Garbage collection, online, in small steps: each a short transaction, then files.

It goes from what points to what is pointed at: manifests that no tag, index or subject keeps, blobs
that no manifest of their repository names, content that no repository shows, files that no row
knows, downloads that nobody goes on with. A row goes before its file, so a cut leaves a file
without a row, which the next collection finds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import delete
from sqlmodel import Session, col

from connected_registry.errors import DigestInvalid, DiskFull
from connected_registry.oci.digest import ENCODED, Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.storage import candidates, disk, rows
from connected_registry.storage.ballast import Ballast
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.candidates import Content, Key, ShownBlob, ShownManifest
from connected_registry.storage.collected import Collected, Graces, Kept, Phase
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.judgement import Judge
from connected_registry.storage.lease import may_remove
from connected_registry.storage.ledger import Ledger
from connected_registry.storage.models import BlobLinkRow, BlobRow
from connected_registry.storage.registry import Registry
from connected_registry.storage.wanted import Wanted

PROGRESS: Final = "collection/progress"
"""Where the ledger keeps how far a collection is."""

LAST: Final = "collection/last"
"""Where the ledger keeps what the last whole collection did, and when."""

BATCH: Final = 200
"""Rows looked at, and removed, in one step."""

_SAVE_EVERY: Final = 25

Result = TypeVar("Result")
Protected = Callable[[], Collection[str]]


@dataclass(slots=True)
class _Run:
    """One collection: what it goes by, how far it is, and what it did."""

    judge: Judge
    done: Collected
    last: Any = None
    """The key of what was looked at last."""

    @property
    def dry(self) -> bool:
        """Whether nothing is to be removed."""
        return self.done.dry_run


class Collector:
    """Removes garbage from one data folder.

    ``protected`` gives digests of manifests and blobs that stay whatever points to them: those
    that wait to go up to the parent. One collection at a time.
    """

    def __init__(
        self,
        folder: DataFolder,
        database: Database,
        blobs: BlobStore,
        registry: Registry,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        protected: Protected = frozenset,
        ballast: Ballast | None = None,
        batch: int = BATCH,
    ) -> None:
        self._folder = folder
        self._database = database
        self._blobs = blobs
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._protected = protected
        self._ballast = ballast
        self._batch = batch
        self._removing = threading.Lock()

    def collect(self, *, dry_run: bool = False, graces: Graces | None = None) -> Collected:
        """All steps at once."""
        done = Collected(dry_run=dry_run)
        for done in self.steps(dry_run=dry_run, graces=graces):  # noqa: B007
            pass
        return done

    def steps(self, *, dry_run: bool = False, graces: Graces | None = None) -> Iterator[Collected]:
        """Do one step for each value asked for; a collection that was cut goes on where it was.

        Raises `DiskFull` only where not even the ballast's space is enough.
        """
        run = self._begin(dry_run, graces or Graces())
        phases = list(Phase)
        for phase in phases[phases.index(run.done.phase or Phase.MANIFESTS) :]:
            run.done.phase = phase
            for number, _ in enumerate(self._phase(phase, run)):
                if not dry_run and number % _SAVE_EVERY == _SAVE_EVERY - 1:
                    self._save(run)
                yield run.done
            run.last = None
        run.done.phase = None
        if not dry_run:
            self._finish(run)
        yield run.done

    def remove_tags(self, repository: RepositoryName, tags: Collection[str]) -> Collected:
        """Remove tags and at once all that nothing else keeps, however lately it was used.

        Only what a push or a sync asked for a moment ago stays until the next collection.
        """
        run = _Run(self._judge(Graces(), urgent=True), Collected(phase=None))
        for batch in rows.batches(sorted(tags)):
            named = self._transaction(partial(_untag, repository, batch))
            self._registry.forget_tags(repository, batch)
            self._release(run, named)
        return run.done

    def remove_untagged(self, repository: RepositoryName) -> Collected:
        """Remove at once every manifest of the repository that no tag keeps, and its blobs."""
        run = _Run(self._judge(Graces(), urgent=True), Collected(phase=None))
        with self._database.read() as session:
            number = rows.known_repository(session, repository)
        last: Key = (number, "")
        while True:
            with self._database.read() as session:
                page = candidates.manifests_after(session, last, self._batch)
            self._release(run, [each.key for each in page if each.repository_id == number])
            if not page or page[-1].repository_id != number:
                break
            last = page[-1].key
        last = (number, "")
        while True:
            with self._database.read() as session:
                links = candidates.blobs_after(session, last, self._batch)
            keys = [each.key for each in links if each.repository_id == number]
            self._release_content(run, self._release_blobs(run, keys))
            if not links or links[-1].repository_id != number:
                return run.done
            last = links[-1].key

    def _begin(self, dry_run: bool, graces: Graces) -> _Run:
        done, last = Collected(dry_run=dry_run), None
        kept = None if dry_run else self._ledger.get(PROGRESS)
        if isinstance(kept, dict):
            done, last = Collected.from_json(kept["done"]), kept["last"]
        return _Run(self._judge(graces), done, tuple(last) if isinstance(last, list) else last)

    def _judge(self, graces: Graces, *, urgent: bool = False) -> Judge:
        protected = frozenset(self._protected())
        return Judge(self._clock(), graces, protected, self._blobs.attention, urgent)

    def _save(self, run: _Run) -> None:
        self._with_room(
            lambda: self._ledger.put(PROGRESS, {"done": run.done.to_json(), "last": run.last})
        )

    def _finish(self, run: _Run) -> None:
        if self._ballast is not None:
            self._ballast.take()
        at = run.judge.now.astimezone(UTC).isoformat()
        self._with_room(lambda: self._ledger.put(LAST, {"at": at, **run.done.to_json()}))
        self._with_room(lambda: self._ledger.put(PROGRESS, None))

    def _phase(self, phase: Phase, run: _Run) -> Iterator[None]:
        match phase:
            case Phase.MANIFESTS:
                return self._manifests(run)
            case Phase.BLOBS:
                return self._shown_blobs(run)
            case Phase.CONTENT:
                return self._content(run)
            case Phase.FILES:
                return self._files(run)
            case Phase.DOWNLOADS:
                return self._downloads(run)

    def _manifests(self, run: _Run) -> Iterator[None]:
        last: Key = run.last or (0, "")
        while True:
            with self._database.read() as session:
                page = candidates.manifests_after(session, last, self._batch)
                doomed = [
                    each for each in page if not _noted(run, run.judge.manifest(session, each))
                ]
            if not page:
                return
            last = run.last = page[-1].key
            self._release_manifests(run, [each.key for each in doomed])
            yield

    def _shown_blobs(self, run: _Run) -> Iterator[None]:
        last: Key = run.last or (0, "")
        while True:
            with self._database.read() as session:
                page = candidates.blobs_after(session, last, self._batch)
                doomed = [each for each in page if not _noted(run, run.judge.blob(session, each))]
            if not page:
                return
            last = run.last = page[-1].key
            self._release_blobs(run, [each.key for each in doomed])
            yield

    def _content(self, run: _Run) -> Iterator[None]:
        last: str = run.last or ""
        while True:
            with self._database.read() as session:
                page = candidates.content_after(session, last, self._batch)
                doomed = [
                    each for each in page if not _noted(run, run.judge.content(session, each))
                ]
            if not page:
                return
            last = run.last = page[-1].digest
            self._release_content(run, [each.digest for each in doomed])
            yield

    def _release(self, run: _Run, keys: Collection[Key]) -> None:
        """Remove manifests with all that only they kept, down to the files."""
        manifests, blobs = self._release_manifests(run, keys)
        content = self._release_blobs(run, blobs)
        self._release_content(run, [*manifests, *content])

    def _release_manifests(self, run: _Run, keys: Collection[Key]) -> tuple[list[str], list[Key]]:
        """Remove manifests that nothing keeps, then what only they kept, and so on.

        Digests of what went, and the blobs that it named.
        """
        waiting = list(keys)
        removed: list[str] = []
        named: dict[Key, None] = {}
        counted = set(keys)
        while waiting:
            batch, waiting = waiting[: self._batch], waiting[self._batch :]
            gone, freed, blobs = self._look(run, partial(self._remove_manifests, run, batch))
            for each in gone:
                removed.append(each.digest)
                run.done.note_manifest(each.repository, each.digest)
                if each.key not in counted and run.last and each.key <= run.last:
                    # Looked at before what kept it went.
                    kept = Kept.PART if run.done.kept[Kept.PART] else Kept.REFERS
                    run.done.kept[kept] -= 1
                self._registry.forget(each.repository, [each.digest])
            named.update(dict.fromkeys(blobs))
            waiting += freed
        return removed, list(named)

    def _remove_manifests(
        self, run: _Run, batch: Collection[Key], session: Session
    ) -> tuple[list[ShownManifest], list[Key], list[Key]]:
        gone: list[ShownManifest] = []
        freed: list[Key] = []
        named: list[Key] = []
        for each in candidates.manifests(session, batch):
            if each.key in run.judge.gone_manifests or run.judge.manifest(session, each):
                continue
            number = each.repository_id
            gone.append(each)
            below = rows.below(session, number, each.digest)
            blobs = candidates.named_by(session, each.digest)
            freed += [(number, digest) for digest in below]
            named += [(number, digest) for digest in blobs]
            if run.dry:
                run.judge.gone_manifests.add(each.key)
                run.judge.touched.update((each.digest, *below, *blobs))
            else:
                rows.remove_manifest(session, number, each.digest)
        return gone, freed, named

    def _release_blobs(self, run: _Run, keys: Collection[Key]) -> list[str]:
        """Stop showing blobs that nothing keeps; their digests."""
        removed: list[str] = []
        for batch in _batches(keys, self._batch):
            gone = self._look(run, partial(self._remove_blobs, run, batch))
            for each in gone:
                run.done.blobs += 1
                removed.append(each.digest)
                self._registry.forget(each.repository, [each.digest])
        return removed

    def _remove_blobs(self, run: _Run, batch: Collection[Key], session: Session) -> list[ShownBlob]:
        gone = []
        for each in candidates.blobs(session, batch):
            if each.key in run.judge.gone_blobs or run.judge.blob(session, each):
                continue
            gone.append(each)
            if run.dry:
                run.judge.gone_blobs.add(each.key)
                run.judge.touched.add(each.digest)
                continue
            session.execute(
                delete(BlobLinkRow).where(
                    col(BlobLinkRow.repository_id) == each.repository_id,
                    col(BlobLinkRow.digest) == each.digest,
                )
            )
        return gone

    def _release_content(self, run: _Run, digests: Collection[str]) -> None:
        """Forget content that nothing shows, then remove its files."""
        for batch in _batches(list(dict.fromkeys(digests)), self._batch):
            with self._removing, may_remove(self._folder.path) as allowed:
                if not allowed:
                    return
                gone = self._look(run, partial(self._remove_content, run, batch))
                self._remove_files(run, {each.digest: each.size for each in gone})

    def _remove_content(self, run: _Run, batch: Collection[str], session: Session) -> list[Content]:
        gone = [
            each
            for each in candidates.content(session, batch)
            if not run.judge.content(session, each)
        ]
        if gone and not run.dry:
            doomed = [each.digest for each in gone]
            session.execute(delete(BlobRow).where(col(BlobRow.digest).in_(doomed)))
        return gone

    def _remove_files(self, run: _Run, files: dict[Digest, int]) -> None:
        """Remove files without a row, unless somebody wants one of them by now."""
        if run.dry:
            for size in files.values():
                run.done.note_file(size)
            return
        with self._database.write() as session:
            known = candidates.recorded(session, list(files))
            for digest, size in files.items():
                if digest not in known and self._blobs.remove_unused(digest):
                    run.done.note_file(size)

    def _files(self, run: _Run) -> Iterator[None]:
        """Walk the folder for files that no row knows."""
        wanted = Wanted(self._ledger, self._blobs)
        for algorithm in ENCODED:
            found = _walk(self._folder.blobs / algorithm, algorithm)
            while batch := dict(islice(found, self._batch)):
                with self._database.read() as session:
                    known = candidates.recorded(session, list(batch))
                orphans = {}
                for digest, (size, changed_at) in batch.items():
                    if digest in known:
                        continue
                    if not _noted(run, run.judge.file(digest, changed_at, wanted)):
                        orphans[digest] = size
                if orphans:
                    with self._removing, may_remove(self._folder.path) as allowed:
                        if allowed:
                            self._remove_files(run, orphans)
                yield

    def _downloads(self, run: _Run) -> Iterator[None]:
        """Drop downloads that were begun long ago for no image that is still to come."""
        wanted = Wanted(self._ledger, self._blobs)
        for digest, size, changed_at in self._blobs.partials():
            kept = run.judge.download(digest, changed_at, wanted)
            if not _noted(run, kept) and (run.dry or self._blobs.drop_partial(digest)):
                run.done.note_file(size)
            yield

    def _look(self, run: _Run, work: Callable[[Session], Result]) -> Result:
        """``work`` in a transaction; a dry run only reads."""
        if not run.dry:
            return self._transaction(work)
        with self._database.read() as session:
            return work(session)

    def _transaction(self, work: Callable[[Session], Result]) -> Result:
        def attempt() -> Result:
            with self._database.write() as session:
                return work(session)

        return self._with_room(attempt)

    def _with_room(self, attempt: Callable[[], Result]) -> Result:
        """``attempt``, and once more with the ballast's space where the disk is full."""
        try:
            return attempt()
        except DiskFull:
            if self._ballast is None or not self._ballast.drop():
                raise
            return attempt()


def _noted(run: _Run, kept: Kept | None) -> bool:
    if kept is None:
        return False
    run.done.kept[kept.value] += 1
    return True


def _untag(repository: str, tags: Collection[str], session: Session) -> list[Key]:
    number = rows.known_repository(session, repository)
    return [(number, digest) for digest in rows.remove_tags(session, number, tags)]


def _batches(items: Collection[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _walk(folder: Path, algorithm: str) -> Iterator[tuple[Digest, tuple[int, datetime]]]:
    """Every content file with size and time of last change; other names are left alone."""
    with disk.disk_errors(f"cannot look through {folder}"), os.scandir(folder) as entries:
        for entry in entries:
            try:
                digest = Digest.parse(f"{algorithm}:{entry.name}")
                facts = entry.stat(follow_symlinks=False)
            except (DigestInvalid, FileNotFoundError):
                continue
            yield digest, (facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))
