"""Upload sessions: bytes on their way in, bound to the repository and the caller that began them.

A session is a row and a file of the same id, so it survives a restart; the running hash does not,
and is taken again from the file when next needed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlmodel import col

from connected_registry.errors import (
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    RangeInvalid,
)
from connected_registry.oci.digest import CANONICAL, ENCODED, Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.storage import disk, rows
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.content import StoredBlob
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.models import UploadRow

if TYPE_CHECKING:
    from hashlib import _Hash

    from typing_extensions import Buffer

_REMEMBERED: Final = 4096
"""Finished sessions whose repeated PUT is answered as the first was."""


class Upload:
    """One session. ``offset`` is how many bytes it has; the rest is `Uploads`' business."""

    def __init__(
        self, identity: UUID, repository: RepositoryName, owner: str, algorithm: str, path: Path
    ) -> None:
        self.id = identity
        self.repository = repository
        self.owner = owner
        self.algorithm = algorithm
        self.path = path
        self.offset = 0
        self.digest: Digest | None = None
        """What it was finished as."""
        self.placed: Digest | None = None
        """Set once the file has moved to its final name: from then on it is not to be written."""
        self.touched = time.monotonic()
        self.lock = threading.Lock()
        self.descriptor: int | None = None
        self.hash: _Hash | None = None

    def open(self) -> int:
        """The file, opened where it is not."""
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self.descriptor

    def close(self) -> None:
        """Close the file; the session goes on."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _admit_all(_size: int, _staged: int) -> None:
    """There is room."""


class Uploads:
    """All sessions of the folder."""

    def __init__(
        self,
        folder: DataFolder,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self.admit: Callable[[int, int], None] = _admit_all
        """Raises where there is no room for so many bytes beside those of the session."""
        self._lock = threading.Lock()
        self._active: dict[UUID, Upload] = {}
        self._finished: OrderedDict[UUID, Upload] = OrderedDict()

    def start(self, repository: RepositoryName, owner: str, algorithm: str | None = None) -> Upload:
        """Begin a session of ``owner`` for ``repository``.

        ``algorithm`` is what the digest is expected to be of; another one only costs a second
        reading. Raises `DigestInvalid` for an unknown one, `DiskFull`.
        """
        if algorithm is not None and algorithm not in ENCODED:
            raise DigestInvalid("unsupported digest algorithm", {"algorithm": algorithm[:50]})
        self.admit(0, 0)
        upload = self._upload(uuid4(), repository, owner, algorithm)
        with disk.disk_errors("cannot begin an upload"):
            upload.descriptor = disk.create(upload.path)
        try:
            with self._database.write() as session:
                session.add(
                    UploadRow(
                        id=str(upload.id),
                        repository=repository,
                        owner=owner,
                        algorithm=algorithm,
                        created_at=self._clock(),
                    )
                )
        except BaseException:
            upload.close()
            upload.path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._active[upload.id] = upload
        return upload

    def get(self, identity: str, repository: RepositoryName, owner: str) -> Upload:
        """The session, also one finished a while ago (then ``digest`` is set).

        Raises `BlobUploadUnknown` for any id that is not this owner's in this repository.
        """
        try:
            key = UUID(identity)
        except ValueError:
            raise BlobUploadUnknown from None
        if str(key) != identity:
            raise BlobUploadUnknown
        with self._lock:
            upload = self._active.get(key) or self._finished.get(key)
        if upload is None:
            upload = self._awaken(key)
        if (upload.repository, upload.owner) != (repository, owner):
            raise BlobUploadUnknown
        return upload

    @contextmanager
    def claim(self, upload: Upload) -> Iterator[None]:
        """Hold the session for one request; raises `BlobUploadInvalid` while another does."""
        if not upload.lock.acquire(blocking=False):
            raise BlobUploadInvalid("another request is writing to this upload")
        try:
            yield
        finally:
            upload.touched = time.monotonic()
            upload.lock.release()

    def append(self, upload: Upload, chunk: Buffer, *, at: int | None = None) -> int:
        """Add bytes, and return the new offset.

        ``at`` is where the caller believes they belong: `RangeInvalid` unless they do, which is
        how the second of two requests that write at once finds out. Raises `DiskFull` with the
        session as it was before.
        """
        with self.claim(upload):
            return self._append(upload, chunk, at)

    def finish(self, upload: Upload, digest: Digest) -> StoredBlob:
        """Verify, store and show the blob in the session's repository; durable on return.

        Raises `DigestInvalid` where the bytes are others; then the session is gone. Repeating it
        for the same digest is answered as the first time.
        """
        with self.claim(upload):
            if upload.digest is not None:
                return self._again(upload, digest)
            descriptor = self._open(upload)
            if self._digest(upload, digest.algorithm) != digest:
                self._forget(upload)
                raise DigestInvalid(detail={"digest": digest})
            if upload.placed is None:
                self._blobs.place(upload.path, descriptor, digest)
                upload.placed = digest
            with self._database.write() as session:
                now = self._clock()
                repository_id = rows.make_repository(session, upload.repository, now)
                rows.link_blob(session, repository_id, digest, upload.offset, now)
                session.execute(delete(UploadRow).where(col(UploadRow.id) == str(upload.id)))
            upload.digest = digest
            upload.close()
            with self._lock:
                self._active.pop(upload.id, None)
                self._finished[upload.id] = upload
                while len(self._finished) > _REMEMBERED:
                    self._finished.popitem(last=False)
        return StoredBlob(digest, upload.offset, self._blobs.path(digest))

    def cancel(self, upload: Upload) -> None:
        """End the session and drop its bytes."""
        with self.claim(upload):
            self._must_be_active(upload)
            self._forget(upload)

    def expire(self, idle: timedelta) -> int:
        """Drop sessions that nobody touched for ``idle``, and say how many.

        Measured by the clock that cannot jump: a session from before a restart counts from its
        first use, or this call, after it.
        """
        with self._database.read() as session:
            known = session.execute(select(col(UploadRow.id))).scalars().all()
        horizon = time.monotonic() - idle.total_seconds()
        dropped = 0
        for identity in known:
            try:
                upload = self._awaken(UUID(identity))
            except BlobUploadUnknown:
                continue
            if upload.touched <= horizon and upload.lock.acquire(blocking=False):
                try:
                    self._forget(upload)
                finally:
                    upload.lock.release()
                dropped += 1
        return dropped

    def recover(self) -> None:
        """At start: drop files without a session and sessions without a file."""
        with self._database.read() as session:
            known = set(session.execute(select(col(UploadRow.id))).scalars())
        with disk.disk_errors("cannot clean the uploads folder"):
            found = {path.name: path for path in self._folder.uploads.iterdir()}
            for name in found.keys() - known:
                found[name].unlink()
        if lost := known - found.keys():
            with self._database.write() as session:
                session.execute(delete(UploadRow).where(col(UploadRow.id).in_(lost)))

    def close(self) -> None:
        """Close every file; the sessions go on after the next start."""
        with self._lock:
            for upload in self._active.values():
                upload.close()
            self._active.clear()

    def _upload(
        self, identity: UUID, repository: RepositoryName, owner: str, algorithm: str | None
    ) -> Upload:
        path = self._folder.uploads / str(identity)
        return Upload(identity, repository, owner, algorithm or CANONICAL, path)

    def _awaken(self, identity: UUID) -> Upload:
        """The session in memory, brought there from its row where it is not."""
        with self._database.read() as session:
            row = session.get(UploadRow, str(identity))
        if row is None:
            raise BlobUploadUnknown
        fresh = self._upload(identity, RepositoryName(row.repository), row.owner, row.algorithm)
        try:
            fresh.offset = os.lstat(fresh.path).st_size
        except FileNotFoundError:
            raise BlobUploadUnknown from None
        with self._lock:
            return self._active.setdefault(identity, fresh)

    def _append(self, upload: Upload, chunk: Buffer, at: int | None) -> int:
        descriptor = self._open(upload)
        if at is not None and at != upload.offset:
            raise RangeInvalid(detail={"expected": upload.offset, "got": at})
        if upload.placed is not None:
            raise BlobUploadInvalid("this upload has all its bytes; only its end may be repeated")
        running = self._running(upload, upload.algorithm)
        view = memoryview(chunk).cast("B")
        self.admit(len(view), upload.offset)
        with disk.disk_errors("cannot store the upload"):
            try:
                disk.write_all(descriptor, view, upload.offset)
            except OSError:
                os.ftruncate(descriptor, upload.offset)
                raise
        running.update(view)
        upload.offset += len(view)
        return upload.offset

    def _must_be_active(self, upload: Upload) -> None:
        with self._lock:
            if self._active.get(upload.id) is not upload:
                raise BlobUploadUnknown

    def _open(self, upload: Upload) -> int:
        self._must_be_active(upload)
        try:
            return upload.open()
        except FileNotFoundError:
            raise BlobUploadUnknown from None
        except OSError as error:
            raise disk.translated(error, "cannot go on with the upload") from error

    def _running(self, upload: Upload, algorithm: str) -> _Hash:
        """The running hash, taken from the file where it is not at hand."""
        if upload.hash is None or upload.hash.name != algorithm:
            running = Digest.of(b"", algorithm).new_hash()
            with disk.disk_errors("cannot read the upload"):
                for piece in disk.read_chunks(upload.open()):
                    running.update(piece)
            upload.hash = running
        return upload.hash

    def _digest(self, upload: Upload, algorithm: str) -> Digest:
        return Digest.from_hash(self._running(upload, algorithm))

    def _again(self, upload: Upload, digest: Digest) -> StoredBlob:
        if upload.digest != digest:
            raise BlobUploadUnknown
        return StoredBlob(digest, upload.offset, self._blobs.path(digest))

    def _forget(self, upload: Upload) -> None:
        with self._lock:
            self._active.pop(upload.id, None)
        with self._database.write() as session:
            session.execute(delete(UploadRow).where(col(UploadRow.id) == str(upload.id)))
        with disk.disk_errors("cannot drop the upload"):
            upload.path.unlink(missing_ok=True)
        upload.close()
