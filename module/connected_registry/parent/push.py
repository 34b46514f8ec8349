"""Carry one change up: what an image needs, the image, then its tag; or take something away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from connected_registry.errors import (
    BlobUnknown,
    ManifestUnknown,
    ParentFailed,
    ParentNotFound,
    StorageError,
    Unavailable,
)
from connected_registry.oci import media_type as types
from connected_registry.oci.descriptor import Descriptor
from connected_registry.oci.digest import Digest
from connected_registry.oci.document import parse_object
from connected_registry.oci.manifest import Manifest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.oci.signature import fallback_tag
from connected_registry.parent.conflict import Verdict, conflict_tag, judge
from connected_registry.parent.together import together
from connected_registry.parent.upload import ParentUploads, Source
from connected_registry.policy.sync import Conflicts
from connected_registry.storage.content import ImageCommit
from connected_registry.storage.outgoing import Entry, Kind, Outcome

if TYPE_CHECKING:
    from connected_registry.parent.client import ParentClient
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.outgoing import Outgoing
    from connected_registry.storage.registry import Registry

BLOBS_AT_ONCE: Final = 3
MOUNTS: Final = 3
"""Repositories that a blob is tried to be mounted from before it is sent."""

REMEMBERED: Final = 100_000
DEEPEST: Final = 32

Announce = Callable[[str, dict[str, Any]], None]


class UploadMemory:
    """Addresses of unfinished uploads at one parent, kept in the ledger."""

    def __init__(self, ledger: Ledger, host: str) -> None:
        self._ledger = ledger
        self._host = host

    async def get(self, repository: RepositoryName, digest: Digest) -> str | None:
        """The address of an unfinished upload."""
        kept = await asyncio.to_thread(self._ledger.get, self._key(repository, digest))
        return kept if isinstance(kept, str) else None

    async def keep(self, repository: RepositoryName, digest: Digest, location: str | None) -> None:
        """Remember it; None forgets it."""
        await asyncio.to_thread(self._ledger.put, self._key(repository, digest), location)

    def _key(self, repository: RepositoryName, digest: Digest) -> str:
        return f"upload/{self._host}/{repository}/{digest}"


class Pusher:
    """Carries entries of the queue, each on its own; safe for several at a time.

    ``site`` is this replica's name in conflict tags. ``announce`` is told ``pushConflict``.
    """

    def __init__(
        self,
        client: ParentClient,
        uploads: ParentUploads,
        registry: Registry,
        outgoing: Outgoing,
        *,
        site: str,
        announce: Announce,
    ) -> None:
        self._client = client
        self._uploads = uploads
        self._registry = registry
        self._outgoing = outgoing
        self._site = site
        self._announce = announce
        self._there: set[tuple[RepositoryName, Digest]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def carry(self, entry: Entry, rule: Conflicts) -> Outcome:
        """Do at the parent what was done here. Doing it twice is the same as doing it once.

        Raises a `ParentError`, or `StorageError` where what was pushed is not here any more.
        """
        try:
            return await self._carry(entry, rule)
        except ParentFailed:
            # What we believed to be there may be what was missing.
            self._there.clear()
            raise

    async def _carry(self, entry: Entry, rule: Conflicts) -> Outcome:
        repository, tag = entry.repository, entry.tag
        if entry.kind is Kind.PUSH and await asyncio.to_thread(self._is_gone, entry):
            return Outcome.ARRIVED
        if entry.kind is Kind.DELETE:
            await self._uploads.delete_manifest(repository, entry.digest)
            return Outcome.ARRIVED
        if tag is None:
            await self._send(repository, entry.digest, entry.digest)
            return Outcome.ARRIVED
        there = await self._named(repository, tag)
        seen = await asyncio.to_thread(self._outgoing.seen, repository, tag)
        if there == _stand_in(repository, tag).digest:
            # Our own: an earlier try to take the tag away was cut in the middle.
            there = seen or entry.digest
        verdict = judge(entry.kind, entry.digest, seen, there, rule)
        if verdict.is_conflict:
            assert there is not None
            return await self._settle(entry, tag, there, verdict)
        if verdict is Verdict.CARRY:
            await self._do(entry, tag)
        return Outcome.ARRIVED

    async def _do(self, entry: Entry, tag: Tag) -> None:
        if entry.kind is Kind.UNTAG:
            await self._untag(entry.repository, tag)
        else:
            await self._send(entry.repository, entry.digest, tag)

    def _is_gone(self, entry: Entry) -> bool:
        """Whether a push was deleted again. Raises `StorageError` where it just is not here."""
        try:
            self._registry.resolve(entry.repository, entry.digest)
        except (ManifestUnknown, Unavailable) as error:
            if self._outgoing.is_overtaken(entry):
                return True
            raise StorageError(f"{entry}: what was pushed is not here any more: {error}") from error
        return False

    async def _settle(self, entry: Entry, tag: Tag, there: Digest, verdict: Verdict) -> Outcome:
        """Both sides changed the tag: keep the loser under a conflict tag, and tell."""
        repository = entry.repository
        if verdict is Verdict.OVERRIDE:
            loser = conflict_tag(tag, self._site, there)
            theirs = await self._client.get_manifest(repository, there, there)
            manifest = Manifest.parse(theirs.content, theirs.media_type)
            await self._uploads.put_manifest(repository, loser, replace(manifest, digest=there))
            await self._do(entry, tag)
            outcome = Outcome.ARRIVED
        else:
            loser = conflict_tag(tag, self._site, entry.digest)
            if entry.kind is Kind.PUSH:
                await self._send(repository, entry.digest, loser)
                await asyncio.to_thread(self._keep_here, entry, loser)
            outcome = Outcome.APART if verdict is Verdict.APART else Outcome.LOST
        kept = {Verdict.OVERRIDE: "site", Verdict.YIELD: "parent", Verdict.APART: "both"}[verdict]
        self._announce(
            "pushConflict",
            {
                "repository": repository,
                "tag": tag,
                "here": entry.digest,
                "parent": there,
                "kept": kept,
                "conflictTag": loser,
                "kind": entry.kind.value,
            },
        )
        return outcome

    def _keep_here(self, entry: Entry, loser: Tag) -> None:
        """Name what lost by its conflict tag here too. Runs in a thread."""
        self._registry.commit_image(ImageCommit(entry.repository, (loser,), entry.digest, ()))

    async def _named(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """What the parent's tag names now."""
        try:
            remote = await self._client.head_manifest(repository, tag)
            if remote.digest is not None:
                return remote.digest
            return (await self._client.get_manifest(repository, tag)).digest
        except ParentNotFound:
            return None

    async def _send(
        self, repository: RepositoryName, digest: Digest, reference: Tag | Digest, depth: int = 0
    ) -> None:
        """Have a manifest with all below it at the parent, and name it by ``reference``."""
        manifest = await asyncio.to_thread(self._manifest, repository, digest)
        if not await self._is_there(repository, digest):
            if depth < DEEPEST:
                for child in manifest.children:
                    await self._send_child(repository, child.digest, depth + 1)
            await together(
                (
                    self._blob(repository, descriptor)
                    for descriptor in (*manifest.blobs, *manifest.embedded)
                ),
                limit=BLOBS_AT_ONCE,
            )
        elif reference == digest:
            return
        noted = await self._uploads.put_manifest(repository, reference, manifest)
        if manifest.subject is not None and not noted:
            await self._list_referrer(repository, manifest, manifest.subject.digest)
        self._note(repository, digest)

    async def _send_child(self, repository: RepositoryName, digest: Digest, depth: int) -> None:
        """A child that is not here was never pushed: whether that matters, the parent decides."""
        if not await asyncio.to_thread(self._shows, repository, digest):
            return
        await self._send(repository, digest, digest, depth)

    async def _is_there(self, repository: RepositoryName, digest: Digest) -> bool:
        if (repository, digest) in self._there:
            return True
        if await self._uploads.has_manifest(repository, digest):
            self._note(repository, digest)
            return True
        return False

    async def _blob(self, repository: RepositoryName, descriptor: Descriptor) -> None:
        digest = descriptor.digest
        # One at a time for each blob: another repository then mounts it instead.
        async with self._locks.setdefault(digest, asyncio.Lock()):
            if (repository, digest) in self._there:
                return
            if not await self._uploads.has_blob(repository, digest):
                source = await asyncio.to_thread(self._source, repository, descriptor)
                mounts = await asyncio.to_thread(self._mounts, repository, digest)
                await self._uploads.push_blob(repository, source, mounts)
            self._note(repository, digest)

    def _mounts(self, repository: RepositoryName, digest: Digest) -> list[RepositoryName]:
        """Where at the parent the blob may be; those where we have seen it first."""
        names = self._outgoing.repositories_with(digest)
        names = [name for name in names if name != repository]
        names.sort(key=lambda name: (name, digest) not in self._there)
        return names[:MOUNTS]

    def _source(self, repository: RepositoryName, descriptor: Descriptor) -> Source:
        """The blob's file, or its bytes within the manifest. Runs in a thread."""
        try:
            stored = self._registry.stat_blob(repository, descriptor.digest)
        except (BlobUnknown, Unavailable) as error:
            if (data := descriptor.data) is None:
                raise StorageError(f"{repository}: blob {descriptor.digest} is not here") from error
            return Source(descriptor.digest, len(data), _from_bytes(data))
        return Source(stored.digest, stored.size, _from_file(stored.path))

    def _manifest(self, repository: RepositoryName, digest: Digest) -> Manifest:
        try:
            stored = self._registry.resolve(repository, digest)
        except (ManifestUnknown, Unavailable) as error:
            raise StorageError(f"{repository}@{digest} is not here any more: {error}") from error
        return replace(Manifest.parse(stored.content, stored.media_type), digest=digest)

    def _shows(self, repository: RepositoryName, digest: Digest) -> bool:
        try:
            self._registry.resolve(repository, digest)
        except (ManifestUnknown, Unavailable):
            return False
        return True

    async def _list_referrer(
        self, repository: RepositoryName, manifest: Manifest, subject: Digest
    ) -> None:
        """Enter a referrer in its subject's fallback index, for a parent without referrers API.

        OCI distribution specification, "Pushing Manifests with Subject".
        """
        tag = fallback_tag(subject)
        async with self._locks.setdefault(f"{repository}:{tag}", asyncio.Lock()):
            try:
                held = await self._client.get_manifest(repository, tag)
                document = parse_object(held.content)
            except ParentNotFound:
                document = {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": []}
            listed = document.get("manifests")
            if not isinstance(listed, list):
                raise ParentFailed(f"{repository}:{tag} at the parent lists no manifests")
            if any(isinstance(e, dict) and e.get("digest") == manifest.digest for e in listed):
                return
            entry: dict[str, Any] = {
                "mediaType": manifest.media_type,
                "digest": manifest.digest,
                "size": manifest.size,
            }
            if manifest.artifact_type is not None:
                entry["artifactType"] = manifest.artifact_type
            if manifest.annotations:
                entry["annotations"] = dict(manifest.annotations)
            listed.append(entry)
            content = json.dumps(document).encode()
            index = Manifest.parse(content, types.OCI_INDEX)
            await self._uploads.put_manifest(repository, tag, index)

    async def _untag(self, repository: RepositoryName, tag: Tag) -> None:
        """Take a tag away, also at a parent that only deletes whole manifests.

        There the tag is first moved to a manifest of nothing, which is then deleted with it.
        """
        try:
            await self._uploads.delete_tag(repository, tag)
        except ParentFailed as error:
            if type(error) is not ParentFailed:
                raise
            stand_in = _stand_in(repository, tag)
            nothing = Source(stand_in.blobs[0].digest, 2, _from_bytes(b"{}"))
            if not await self._uploads.has_blob(repository, nothing.digest):
                await self._uploads.push_blob(repository, nothing)
            await self._uploads.put_manifest(repository, tag, stand_in)
            await self._uploads.delete_manifest(repository, stand_in.digest)

    def _note(self, repository: RepositoryName, digest: Digest) -> None:
        if len(self._there) >= REMEMBERED:
            self._there.clear()
        self._there.add((repository, digest))


def _stand_in(repository: RepositoryName, tag: Tag) -> Manifest:
    """A manifest of nothing that no one else would make, always the same for a tag."""
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": {"mediaType": types.EMPTY, "digest": Digest.of(b"{}"), "size": 2},
        "layers": [],
        "annotations": {"connected-registry.untagged": f"{repository}:{tag}"},
    }
    return Manifest.parse(json.dumps(document).encode(), types.OCI_MANIFEST)


def _from_bytes(data: bytes) -> Callable[[int, int], Any]:
    async def read(offset: int, count: int) -> bytes:
        return data[offset : offset + count]

    return read


def _from_file(path: Path) -> Callable[[int, int], Any]:
    def piece(offset: int, count: int) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(count)
        except OSError as error:
            raise StorageError(f"cannot read {path.name}: {error}") from error
        if len(data) != count:
            raise StorageError(f"{path.name} is shorter than it was")
        return data

    async def read(offset: int, count: int) -> bytes:
        return await asyncio.to_thread(piece, offset, count)

    return read
