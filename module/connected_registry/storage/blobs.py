"""Content-addressed files: what lies at a digest's path is whole, has that digest, and is durable.

Nothing gets there but by rename of a synced file whose hash was taken while it was written. That a
file is there shows it to nobody; visibility is rows in the database (`registry`).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from connected_registry.errors import BlobUnknown, DigestInvalid, SizeInvalid, StorageError
from connected_registry.oci.digest import CANONICAL, ENCODED, Digest
from connected_registry.storage import disk
from connected_registry.storage.attention import Attention
from connected_registry.storage.folder import DataFolder

if TYPE_CHECKING:
    from typing_extensions import Buffer


class BlobStore:
    """The files below ``blobs/`` and the unfinished downloads on their way there.

    ``checkpoint`` is told ``written``, ``synced``, ``renamed`` and ``placed``, in that order, for
    every file that is put in place.
    """

    def __init__(
        self,
        folder: DataFolder,
        *,
        checkpoint: disk.Checkpoint = disk.pass_by,
        attention: Attention | None = None,
    ) -> None:
        self.attention = attention or Attention()
        self._folder = folder
        self._checkpoint = checkpoint
        self._roots = {name: folder.blobs / name for name in ENCODED}
        self._fetching: set[Digest] = set()
        self._lock = threading.Lock()

    def path(self, digest: Digest) -> Path:
        """Where the content is or would be."""
        return self._roots[digest.algorithm] / digest.encoded

    def size(self, digest: Digest) -> int | None:
        """Length of the stored content, ``None`` where there is none."""
        try:
            facts = os.lstat(self.path(digest))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk.translated(error, f"cannot look at {digest}") from error
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    def read(self, digest: Digest) -> bytes:
        """All of the content, unchecked; meant for manifests. Raises `BlobUnknown`."""
        self.attention.note(digest)
        try:
            descriptor = disk.look(self.path(digest))
        except FileNotFoundError:
            raise BlobUnknown(detail={"digest": digest}) from None
        except OSError as error:
            raise disk.translated(error, f"cannot read {digest}") from error
        with disk.disk_errors(f"cannot read {digest}"), os.fdopen(descriptor, "rb") as file:
            return file.read()

    def put(self, content: bytes, algorithm: str = CANONICAL) -> Digest:
        """Store ``content``; durable on return. Raises `DiskFull`.

        Content that is there already is compared, and written again where the disk changed it.
        """
        digest = Digest.of(content, algorithm)
        self.attention.note(digest)
        with disk.disk_errors(f"cannot store {digest}"):
            if self.size(digest) == len(content) and self.read(digest) == content:
                disk.sync_folder(self._roots[algorithm])
            else:
                disk.replace_file(
                    self.path(digest), content, self._folder.partials, self._checkpoint
                )
        return digest

    def place(self, file: Path, descriptor: int, digest: Digest) -> None:
        """Give a written and verified ``file`` its final name; durable on return.

        ``descriptor`` is the file, open. Content already there is replaced: the new bytes have
        just been verified, the old ones once.
        """
        self.attention.note(digest)
        with disk.disk_errors(f"cannot store {digest}"):
            disk.place(file, descriptor, self.path(digest), self._checkpoint)

    def settle(self) -> None:
        """Make every name so far durable, also those another thread is about to sync."""
        with disk.disk_errors("cannot sync the blob folders"):
            for root in self._roots.values():
                disk.sync_folder(root)

    def holds(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the content is here, of that size if given; it is kept for a while if so."""
        self.attention.note(digest)
        found = self.size(digest)
        return found is not None and size in (None, found)

    def remove(self, digest: Digest) -> None:
        """Delete the file, if there. Only while `Database.write` is held: see there."""
        with disk.disk_errors(f"cannot remove {digest}"):
            self._unlink(digest)

    def remove_unused(self, digest: Digest) -> bool:
        """The same unless somebody looked at it lately; whether it is gone."""
        with disk.disk_errors(f"cannot remove {digest}"):
            return self.attention.unless_noted(digest, self._unlink)

    def _unlink(self, digest: Digest) -> None:
        self.path(digest).unlink(missing_ok=True)

    def partial(self, digest: Digest, size: int) -> Partial:
        """Begin or go on with a download of ``size`` bytes. One at a time for each digest.

        Bytes that an earlier attempt left are hashed here, once. Raises `StorageError` where the
        same digest is being fetched already.
        """
        with self._lock:
            if digest in self._fetching:
                raise StorageError(f"{digest} is being fetched already")
            self._fetching.add(digest)
        try:
            return Partial(self, self._partial_path(digest), digest, size)
        except BaseException:
            self.let_go(digest)
            raise

    def let_go(self, digest: Digest) -> None:
        """Allow another `partial` of ``digest``."""
        with self._lock:
            self._fetching.discard(digest)

    def partial_size(self, digest: Digest) -> int:
        """How many bytes an earlier download of ``digest`` left; 0 where there was none."""
        try:
            return os.lstat(self._partial_path(digest)).st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise disk.translated(error, f"cannot look at the download of {digest}") from error

    def partials(self) -> Iterator[tuple[Digest, int, datetime]]:
        """Unfinished downloads: digest, bytes so far, and when the last of them came."""
        with disk.disk_errors("cannot look at the downloads"):
            for path in self._folder.partials.iterdir():
                try:
                    digest = Digest.parse(path.name.replace("-", ":", 1))
                    facts = path.lstat()
                except (DigestInvalid, FileNotFoundError):
                    continue
                yield digest, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)

    def drop_partial(self, digest: Digest) -> bool:
        """Forget a download that nobody goes on with at the moment; whether it is gone."""
        with self._lock, disk.disk_errors(f"cannot drop the download of {digest}"):
            if digest in self._fetching:
                return False
            self._partial_path(digest).unlink(missing_ok=True)
            return True

    def recover(self) -> None:
        """At start: drop what a cut left that can never be gone on with."""
        with disk.disk_errors("cannot clean the staging folder"):
            for leftover in self._folder.partials.glob("put-*"):
                leftover.unlink(missing_ok=True)

    def _partial_path(self, digest: Digest) -> Path:
        return self._folder.partials / f"{digest.algorithm}-{digest.encoded}"


class Partial:
    """A download under way. Left without `finish` or `discard`, its bytes wait for the next try."""

    def __init__(self, blobs: BlobStore, path: Path, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self.offset = 0
        self._blobs = blobs
        self._path = path
        self._hash = digest.new_hash()
        with disk.disk_errors(f"cannot download {digest}"):
            self._descriptor: int | None = disk.resume(path)
            try:
                self._go_on()
            except BaseException:
                os.close(self._descriptor)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, chunk: Buffer) -> None:
        """Add bytes at ``offset``.

        Raises `SizeInvalid` for more than was promised and `DiskFull`; then none of ``chunk``
        counts.
        """
        descriptor = self._open()
        view = memoryview(chunk).cast("B")
        if self.offset + len(view) > self.size:
            raise SizeInvalid(f"more than the promised {self.size} bytes came for {self.digest}")
        with disk.disk_errors(f"cannot download {self.digest}"):
            try:
                disk.write_all(descriptor, view, self.offset)
            except OSError:
                os.ftruncate(descriptor, self.offset)
                raise
        self._hash.update(view)
        self.offset += len(view)

    def finish(self) -> None:
        """Verify and put in place; durable on return.

        Raises `SizeInvalid` where bytes are still missing (they may come later) and
        `DigestInvalid` where the content is another: then nothing of it is kept.
        """
        descriptor = self._open()
        if self.offset != self.size:
            raise SizeInvalid(
                f"{self.offset} of the promised {self.size} bytes came for {self.digest}"
            )
        if Digest.from_hash(self._hash) != self.digest:
            self.discard()
            raise DigestInvalid(
                f"the {self.size} bytes that came for {self.digest} are not that content",
                detail={"digest": self.digest},
            )
        self._blobs.place(self._path, descriptor, self.digest)
        self.close()

    def discard(self) -> None:
        """Forget the bytes."""
        with disk.disk_errors(f"cannot drop the download of {self.digest}"):
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Stop; what was written stays for the next `BlobStore.partial` of this digest."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._blobs.let_go(self.digest)

    def _open(self) -> int:
        if self._descriptor is None:
            raise StorageError(f"the download of {self.digest} is over")
        return self._descriptor

    def _go_on(self) -> None:
        descriptor = self._open()
        if os.fstat(descriptor).st_size > self.size:
            os.ftruncate(descriptor, 0)
        for chunk in disk.read_chunks(descriptor):
            self._hash.update(chunk)
            self.offset += len(chunk)
