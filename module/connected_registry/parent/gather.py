"""Everything that belongs to one image: its manifests, blobs, referrers and companion tags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from connected_registry.errors import ParentLied, ParentNotFound
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Descriptor, Kind, Manifest, select_children
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.oci.signature import is_companion_tag
from connected_registry.parent.documents import Documents
from connected_registry.parent.plan import Companion, PlannedBlob, PlannedManifest
from connected_registry.parent.selection import companions
from connected_registry.parent.together import together
from connected_registry.policy.scope import RepositoryRule

if TYPE_CHECKING:
    from connected_registry.parent.paced import PacedClient

MAX_DEPTH: Final = 8
"""Indexes in indexes, and referrers of referrers, deeper than this are refused."""

MAX_MANIFESTS: Final = 10_000
"""Most manifests of one image, referrers included."""

Head = Callable[[Tag], Awaitable[Digest | None]]
"""The digest a listed tag names at the parent; None when it is gone."""


class NoPlatform(Exception):
    """An index without any of the platforms that the rule wants."""


@dataclass(slots=True)
class Gathered:
    """What one image consists of."""

    manifests: dict[Digest, PlannedManifest] = field(default_factory=dict)
    """Children before their index, referrers after the image."""
    blobs: dict[Digest, PlannedBlob] = field(default_factory=dict)
    companions: dict[Tag, Companion] = field(default_factory=dict)
    absent: list[Digest] = field(default_factory=list)
    """What indexes and lists of referrers name and the parent does not hold either."""


class Gatherer:
    """Gathers the images of one repository under one rule.

    ``listed`` are the repository's tags at the parent, from which companion tags are known.
    """

    def __init__(
        self,
        client: PacedClient,
        documents: Documents,
        repository: RepositoryName,
        rule: RepositoryRule,
        listed: Collection[Tag],
        head: Head,
    ) -> None:
        self._client = client
        self._documents = documents
        self._repository = repository
        self._rule = rule
        self._head = head
        self._companions = frozenset(tag for tag in listed if is_companion_tag(tag))
        self._has_referrers_api = True

    async def gather(self, root: Digest, media_type: str | None = None) -> Gathered:
        """Fetch what is needed to know all of the image.

        Raises a `ParentError` when the parent does not answer for a part of it, and `NoPlatform`.
        """
        found = Gathered()
        manifest = await self._documents.get(self._repository, root, media_type)
        await self._add(found, manifest, selective=True, depth=0)
        if self._rule.referrers:
            await self._add_referrers(found)
        return found

    async def _add(
        self, found: Gathered, manifest: Manifest, *, selective: bool, depth: int
    ) -> None:
        """Add a manifest below its children."""
        if manifest.digest in found.manifests:
            return
        if depth > MAX_DEPTH:
            raise ParentLied(f"{self._repository}: indexes are nested more than {MAX_DEPTH} deep")
        if manifest.kind is Kind.INDEX:
            wanted = self._wanted(manifest, selective=selective)
            children = await together(
                self._child(found, child, tolerant=not selective) for child in wanted
            )
            for child in children:
                if child is not None:
                    await self._add(found, child, selective=selective, depth=depth + 1)
            if selective and wanted and not any(children):
                raise ParentNotFound(
                    f"{self._repository}: the parent holds index {manifest.digest} "
                    "and none of the images in it"
                )
        for blob in (*manifest.blobs, *manifest.embedded):
            self._add_blob(found, blob)
        # What a manifest carries within costs no request, and clients ask for it as a blob.
        await self._documents.keep_embedded(manifest)
        if len(found.manifests) >= MAX_MANIFESTS:
            raise ParentLied(f"{self._repository}: more than {MAX_MANIFESTS} manifests in an image")
        found.manifests[manifest.digest] = PlannedManifest(
            manifest.digest, manifest.media_type, len(manifest.content)
        )

    def _wanted(self, index: Manifest, *, selective: bool) -> tuple[Descriptor, ...]:
        if not selective or not self._rule.platforms:
            return index.children
        chosen = select_children(index, self._rule.wanted_platforms)
        if index.children and not chosen:
            raise NoPlatform
        return chosen

    async def _child(
        self, found: Gathered, child: Descriptor, *, tolerant: bool
    ) -> Manifest | None:
        try:
            manifest = await self._documents.get(self._repository, child.digest, child.media_type)
        except ParentNotFound:
            # A parent may itself be a replica of some platforms, and lists of referrers may name
            # what is deleted: we hold what the parent holds. A platform asked for must be there.
            if self._rule.platforms and not tolerant:
                raise
            found.absent.append(child.digest)
            return None
        if len(manifest.content) != child.size:
            raise ParentLied(
                f"{self._repository}: {child.digest} has {len(manifest.content)} bytes, its index "
                f"says {child.size}"
            )
        return manifest

    def _add_blob(self, found: Gathered, blob: Descriptor) -> None:
        known = found.blobs.setdefault(blob.digest, PlannedBlob(blob.digest, blob.size))
        if known.size != blob.size:
            raise ParentLied(
                f"{self._repository}: {blob.digest} is said to have {known.size} and "
                f"{blob.size} bytes"
            )

    async def _add_referrers(self, found: Gathered) -> None:
        """Add what refers to the image, what refers to that, and so on."""
        asked: set[Digest] = set()
        for _ in range(MAX_DEPTH):
            subjects = [digest for digest in found.manifests if digest not in asked]
            if not subjects:
                return
            asked.update(subjects)
            for referrers in await together(self._referrers(found, each) for each in subjects):
                for manifest in referrers:
                    if manifest is not None:
                        await self._add(found, manifest, selective=False, depth=0)
            for subject in subjects:
                for tag in companions(subject, self._companions):
                    await self._add_companion(found, tag)

    async def _referrers(self, found: Gathered, subject: Digest) -> list[Manifest | None]:
        if not self._has_referrers_api:
            return []
        listed = await self._client.list_referrers(self._repository, subject)
        if listed is None:
            self._has_referrers_api = False
            return []
        return await together(self._child(found, each, tolerant=True) for each in listed)

    async def _add_companion(self, found: Gathered, tag: Tag) -> None:
        if tag in found.companions:
            return
        digest = await self._head(tag)
        if digest is None:
            return
        manifest = await self._documents.get(self._repository, digest)
        await self._add(found, manifest, selective=False, depth=0)
        found.companions[tag] = Companion(tag, digest)
