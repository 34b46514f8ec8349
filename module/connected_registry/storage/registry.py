"""The registry: what repositories show, and the transactions that change it.

Content is durable in the `BlobStore` before a transaction makes it visible, and a transaction is
durable before a method returns. Every method is safe to call from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete
from sqlmodel import col

from connected_registry.errors import (
    BlobDamaged,
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestUnknown,
    OperationNotAllowed,
    StorageError,
    Unavailable,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Manifest
from connected_registry.oci.platform import Platform
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage import closure, listings, lookups, rows
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.cache import Cache
from connected_registry.storage.content import (
    ArtifactChange,
    Closure,
    ImageCommit,
    ManifestDetails,
    Missing,
    Origin,
    Page,
    RepositoryStatistics,
    Statistics,
    StoredBlob,
    StoredManifest,
    TagDetails,
)
from connected_registry.storage.database import Database
from connected_registry.storage.folder import DataFolder
from connected_registry.storage.models import (
    BlobLinkRow,
    TagRow,
)
from connected_registry.storage.outgoing import Outgoing

_CACHE: Final = 64 * 1024 * 1024


class Registry:
    """All repositories of one data folder."""

    def __init__(
        self,
        folder: DataFolder,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Callable[[], datetime],
        cache_bytes: int = _CACHE,
        outgoing: Outgoing | None = None,
    ) -> None:
        """``outgoing``: where pushes and deletions of clients are noted for the parent."""
        self._folder = folder
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._cache = Cache(cache_bytes)
        self._suspects: set[Digest] = set()
        self._suspects_lock = threading.Lock()
        self._outgoing = Outgoing(database, clock=clock) if outgoing is None else outgoing
        self.told: Callable[[ArtifactChange], None] = lambda _change: None
        """Told, in the thread of the caller, what clients pushed and deleted once it is durable."""

    def cached(self, repository: RepositoryName, reference: Tag | Digest) -> StoredManifest | None:
        """What `resolve` would return, if that is in memory. Touches no disk."""
        known = self._cache.manifest(repository, reference)
        if known is not None:
            self._blobs.attention.note(known.digest)
        return known

    def cached_blob(self, repository: RepositoryName, digest: Digest) -> StoredBlob | None:
        """What `stat_blob` would return, if that is in memory. Touches no disk."""
        self._blobs.attention.note(digest)
        return self._cache.blob(repository, digest)

    @property
    def changes(self) -> int:
        """Grows with each change of what repositories show, before whoever made it is told."""
        return self._cache.changes()

    def resolve(self, repository: RepositoryName, reference: Tag | Digest) -> StoredManifest:
        """The manifest a tag or digest names in the repository.

        Raises `ManifestUnknown`, and `Unavailable` where the stored bytes are gone or damaged.
        """
        if (known := self._cache.manifest(repository, reference)) is not None:
            return known
        changes = self._cache.changes()
        with self._database.read() as session:
            found = lookups.find_manifest(session, repository, reference)
        if found is None:
            raise ManifestUnknown(detail={"name": repository, "reference": reference})
        digest = Digest(found.digest)
        manifest = StoredManifest(
            repository=repository,
            digest=digest,
            media_type=found.media_type,
            size=found.size,
            content=self._intact(digest),
            subject=None if found.subject is None else Digest(found.subject),
            artifact_type=found.artifact_type,
            pushed_at=found.pushed_at,
        )
        self._cache.keep_manifest(changes, reference, manifest)
        return manifest

    def put_manifest(
        self,
        repository: RepositoryName,
        reference: Tag | Digest,
        media_type: str,
        content: bytes,
        *,
        tags: Sequence[Tag] = (),
        origin: Origin = "local",
        sparse: bool = False,
    ) -> StoredManifest:
        """Store a manifest and let the reference and all ``tags`` name it, in one step.

        A digest as reference must be that of ``content``, in its own algorithm. A ``sparse`` image
        may name blobs that the repository does not show. Raises
        `DigestInvalid`, `ManifestInvalid`, `ManifestBlobUnknown`, `DiskFull`.
        """
        if isinstance(reference, Digest):
            digest, named = reference, tuple(tags)
            if not digest.matches(content):
                raise DigestInvalid(detail={"digest": digest})
        else:
            digest, named = Digest.of(content), (reference, *tags)
        manifest = Manifest.parse(content, media_type)
        with self._database.read() as session:
            # Looked at twice: here so that a refused manifest leaves no file.
            known = rows.find_repository(session, repository)
            rows.check_references(session, known, manifest, sparse=sparse)
        self._blobs.put(content, digest.algorithm)
        with self._database.write() as session:
            now = self._clock()
            self._must_hold(digest, len(content))
            known = rows.find_repository(session, repository)
            rows.check_references(session, known, manifest, sparse=sparse)
            if origin == "local":
                self._outgoing.pushed(session, repository, digest, named)
            repository_id = rows.make_repository(session, repository, now)
            pushed_at = rows.add_manifest(session, repository_id, digest, manifest, origin, now)
            rows.move_tags(session, repository_id, named, digest, origin, now)
        self._cache.drop(repository, tags=named, digests=(digest,))
        self._outgoing.wake()
        for tag in (named or (None,)) if origin == "local" else ():
            facts = (digest, manifest.media_type, len(content))
            self.told(ArtifactChange("push", repository, tag, *facts))
        return StoredManifest(
            repository=repository,
            digest=digest,
            media_type=manifest.media_type,
            size=len(content),
            content=content,
            subject=None if manifest.subject is None else manifest.subject.digest,
            artifact_type=manifest.artifact_type,
            pushed_at=pushed_at,
        )

    def delete_manifest(
        self, repository: RepositoryName, digest: Digest, *, upward: bool = False
    ) -> tuple[str, ...]:
        """Stop showing the manifest and every tag that names it; those tags.

        Indexes that name it stay and become sparse. ``upward``: a client did it, and the parent is
        to do the same. Raises `ManifestUnknown`.
        """
        with self._database.write() as session:
            repository_id = rows.find_repository(session, repository)
            if repository_id is None:
                raise ManifestUnknown(detail={"name": repository, "digest": digest})
            found = lookups.find_artifact(session, repository, digest)
            if upward:
                self._outgoing.deleted(session, repository, digest)
            tags = rows.remove_manifest(session, repository_id, digest, self._clock())
        self._cache.drop(repository, tags=tags, digests=(digest,))
        self._outgoing.wake()
        if upward and found is not None:
            for name in (*map(Tag, tags), None):
                self.told(ArtifactChange("delete", repository, name, *found))
        return tuple(tags)

    def delete_tag(self, repository: RepositoryName, tag: Tag, *, upward: bool = False) -> None:
        """Forget the tag; the manifest stays. Raises `ManifestUnknown`; see `delete_manifest`."""
        with self._database.write() as session:
            found = lookups.find_artifact(session, repository, tag)
            if upward:
                self._outgoing.untagged(session, repository, tag)
            repository_id = rows.find_repository(session, repository)
            if repository_id is not None:
                rows.let_go(session, repository_id, [tag], self._clock())
            statement = delete(TagRow).where(
                col(TagRow.repository_id) == repository_id, col(TagRow.name) == tag
            )
            if not session.execute(statement.returning(col(TagRow.name))).all():
                raise ManifestUnknown(detail={"name": repository, "tag": tag})
        self._cache.drop(repository, tags=(tag,))
        self._outgoing.wake()
        if upward and found is not None:
            self.told(ArtifactChange("delete", repository, tag, *found))

    def withdraw_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> bool:
        """Forget a tag that the parent no longer has, unless it was changed here meanwhile."""
        with self._database.write() as session:
            number = rows.find_repository(session, repository)
            if number is None or self._outgoing.waiting_tags(session, repository, (tag,)):
                return False
            statement = delete(TagRow).where(
                col(TagRow.repository_id) == number,
                col(TagRow.name) == tag,
                col(TagRow.digest) == digest,
            )
            gone = session.execute(statement.returning(col(TagRow.name))).all()
            if gone:
                rows.note_use(session, [(number, digest)], self._clock())
        self._cache.drop(repository, tags=(tag,))
        return bool(gone)

    def stat_blob(self, repository: RepositoryName, digest: Digest) -> StoredBlob:
        """The blob's size and file.

        Raises `BlobUnknown` unless the repository shows it, `BlobDamaged` where it does and the
        file is lost or of another size.
        """
        self._blobs.attention.note(digest)
        if (known := self._cache.blob(repository, digest)) is not None:
            return known
        changes = self._cache.changes()
        with self._database.read() as session:
            size = lookups.linked_size(session, repository, digest)
        if size is None:
            raise BlobUnknown(detail={"digest": digest})
        if self._blobs.size(digest) != size:
            self.suspect(digest)
            raise BlobDamaged(detail={"digest": digest})
        blob = StoredBlob(digest, size, self._blobs.path(digest))
        self._cache.keep_blob(changes, repository, blob)
        return blob

    def link_blob(self, repository: RepositoryName, digest: Digest, size: int) -> None:
        """Show content of the `BlobStore` in the repository. `BlobUnknown` if it is not there."""
        self._blobs.attention.note(digest)
        self._blobs.settle()
        with self._database.write() as session:
            if self._blobs.size(digest) != size:
                raise BlobUnknown(detail={"digest": digest})
            now = self._clock()
            repository_id = rows.make_repository(session, repository, now)
            rows.link_blob(session, repository_id, digest, size, now)

    def mount_blob(
        self,
        repository: RepositoryName,
        digest: Digest,
        sources: Collection[RepositoryName] | None,
    ) -> bool:
        """Show a blob that one of ``sources`` shows; ``None``: any repository. Whether it could."""
        self._blobs.attention.note(digest)
        with self._database.write() as session:
            sizes = (
                size
                for name, size in lookups.shown_in(session, digest)
                if sources is None or name in sources
            )
            size = next(sizes, None)
            if size is None or self._blobs.size(digest) != size:
                return False
            now = self._clock()
            repository_id = rows.make_repository(session, repository, now)
            rows.link_blob(session, repository_id, digest, size, now)
        return True

    def delete_blob(self, repository: RepositoryName, digest: Digest) -> None:
        """Stop showing the blob here; other repositories and the file are left alone.

        Raises `BlobUnknown`, and `OperationNotAllowed` while a manifest of this repository needs
        it: an image that is listed must stay whole.
        """
        with self._database.write() as session:
            repository_id = rows.find_repository(session, repository)
            if repository_id is None or not rows.linked_sizes(session, repository_id, [digest]):
                raise BlobUnknown(detail={"digest": digest})
            if (parent := lookups.needing(session, repository_id, digest)) is not None:
                raise OperationNotAllowed(
                    f"the blob belongs to manifest {parent}: delete that first",
                    detail={"digest": digest, "manifest": parent},
                )
            session.execute(
                delete(BlobLinkRow).where(
                    col(BlobLinkRow.repository_id) == repository_id,
                    col(BlobLinkRow.digest) == digest,
                )
            )
        self._cache.drop(repository, digests=(digest,))

    def commit_image(self, commit: ImageCommit) -> None:
        """Show an image with everything in ``commit`` at once, its tags last.

        Tags that were changed here and wait to go up to the parent stay as they are.
        Raises `StorageError` where a blob it needs is not in the `BlobStore` in the right size,
        and then changes nothing; `ManifestInvalid`, `DigestInvalid`, `DiskFull`.
        """
        manifests = [
            (digest, Manifest.parse(content, media_type))
            for digest, media_type, content in commit.manifests
        ]
        for digest, manifest in manifests:
            if not digest.matches(manifest.content):
                raise DigestInvalid(detail={"digest": digest})
            self._blobs.put(manifest.content, digest.algorithm)
        self._blobs.settle()
        named = [
            *(((tag,), digest) for tag, digest in commit.companions),
            (commit.tags, commit.root),
        ]
        with self._database.write() as session:
            now = self._clock()
            repository_id = rows.make_repository(session, commit.repository, now)
            for digest, size in commit.blobs:
                self._must_hold(digest, size)
                rows.link_blob(session, repository_id, digest, size, now)
            for digest, manifest in manifests:
                self._must_hold(digest, manifest.size)
                try:
                    rows.check_references(session, repository_id, manifest)
                except ManifestBlobUnknown as error:
                    raise StorageError(f"{digest} cannot be shown: {error}") from error
                rows.add_manifest(session, repository_id, digest, manifest, commit.origin, now)
            if not rows.manifest_sizes(session, repository_id, [commit.root]):
                raise StorageError(f"{commit.root} is not among the manifests of its image")
            every = [tag for tags, _ in named for tag in tags]
            waiting = self._outgoing.waiting_tags(session, commit.repository, every)
            for tags, digest in named:
                rows.move_tags(
                    session,
                    repository_id,
                    [tag for tag in tags if tag not in waiting],
                    digest,
                    commit.origin,
                    now,
                    commit.confirmed_at,
                )
        self._cache.drop(
            commit.repository,
            tags=every,
            digests=[digest for digest, _ in (*manifests, *commit.blobs)],
        )

    def confirm_tags(
        self, repository: RepositoryName, tags: Mapping[Tag, Digest], confirmed_at: datetime
    ) -> None:
        """Note that the parent said these tags name these digests, where they do here too."""
        with self._database.write() as session:
            repository_id = rows.find_repository(session, repository)
            if repository_id is not None:
                for tag, digest in tags.items():
                    rows.confirm_tag(session, repository_id, tag, digest, confirmed_at)

    def closure(
        self, repository: RepositoryName, root: Digest, platforms: Sequence[Platform] = ()
    ) -> Closure:
        """Whether everything an image names is here; with ``platforms``, what those need."""
        with self._database.read() as session:
            repository_id = rows.find_repository(session, repository)
            if repository_id is None:
                return Closure(False, (Missing(root, 0, "missing"),), (), ())
            return closure.walk(session, self._blobs, repository_id, root, platforms)

    def holds(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those whose content is whole in the folder, whether any repository shows it or not."""
        return {digest for digest in digests if self._blobs.holds(digest)}

    def list_tags(
        self, repository: RepositoryName, last: str | None = None, limit: int | None = None
    ) -> Page[str]:
        """Tags after ``last``, in byte order. Raises `NameUnknown`."""
        with self._database.read() as session:
            return listings.list_tags(session, repository, last, limit)

    def list_repositories(
        self,
        last: str | None = None,
        limit: int | None = None,
        visible: Callable[[str], bool] = lambda _name: True,
    ) -> Page[str]:
        """Repositories after ``last`` that the caller may see, in byte order."""
        with self._database.read() as session:
            return listings.list_repositories(session, last, limit, visible)

    def list_referrers(
        self, repository: RepositoryName, digest: Digest, artifact_type: str | None = None
    ) -> list[dict[str, Any]]:
        """Descriptors of what refers to ``digest``; none for an unknown repository."""
        with self._database.read() as session:
            return listings.list_referrers(session, repository, digest, artifact_type)

    def tag_details(
        self, repository: RepositoryName, last: str | None = None, limit: int | None = None
    ) -> Page[TagDetails]:
        """Tags after ``last`` with digests and times. Raises `NameUnknown`."""
        with self._database.read() as session:
            return listings.tag_details(session, repository, last, limit)

    def manifest_details(
        self, repository: RepositoryName, last: str | None = None, limit: int | None = None
    ) -> Page[ManifestDetails]:
        """Manifests after digest ``last`` with tags and sizes. Raises `NameUnknown`."""
        with self._database.read() as session:
            return listings.manifest_details(session, repository, last, limit)

    def statistics(self) -> Statistics:
        """Totals, without counting anything."""
        with self._database.read() as session:
            totals = listings.totals(session)
        return Statistics(*totals, free_bytes=self._folder.free_bytes())

    def repository_statistics(
        self, last: str | None = None, limit: int | None = None
    ) -> Page[RepositoryStatistics]:
        """Totals of each repository after ``last``."""
        with self._database.read() as session:
            return listings.repository_statistics(session, last, limit)

    def waiting_tags(self, repository: RepositoryName) -> frozenset[Tag]:
        """Tags that were changed here and wait to go up to the parent."""
        return self._outgoing.tags(repository)

    def state_digests(self) -> dict[str, Digest]:
        """Per repository a digest over its tags and what they name: equal where content is."""
        with self._database.read() as session:
            return listings.state_digests(session)

    def forget(self, repository: RepositoryName, digests: Iterable[Digest]) -> None:
        """Drop from memory what the repository does not show any more."""
        self._cache.drop(repository, digests=digests)

    def forget_tags(self, repository: RepositoryName, tags: Iterable[str]) -> None:
        """Drop from memory what tags named."""
        self._cache.drop(repository, tags=tags)

    def forget_all(self) -> None:
        """Drop everything from memory: files were found damaged."""
        self._cache.clear()

    def suspect(self, digest: Digest) -> None:
        """Note that stored content looked wrong while it was asked for, and forget where it is."""
        with self._suspects_lock:
            self._suspects.add(digest)
        self._cache.clear()

    def take_suspects(self) -> set[Digest]:
        """What `suspect` was told since the last time."""
        with self._suspects_lock:
            found, self._suspects = self._suspects, set()
        return found

    def _intact(self, digest: Digest) -> bytes:
        try:
            content = self._blobs.read(digest)
        except BlobUnknown:
            self.suspect(digest)
            raise Unavailable(f"the stored manifest {digest} is gone") from None
        if not digest.matches(content):
            self.suspect(digest)
            raise Unavailable(f"the stored manifest {digest} is damaged")
        return content

    def _must_hold(self, digest: Digest, size: int) -> None:
        found = self._blobs.size(digest)
        if found != size:
            state = "is not stored" if found is None else f"has {found} bytes"
            raise StorageError(f"{digest} {state}; {size} bytes were expected")
