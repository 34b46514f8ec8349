"""Make a bundle of what a replica holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from connected_registry.bundle import archive
from connected_registry.bundle.age import created
from connected_registry.bundle.contents import (
    BundledCompanion,
    BundledFile,
    BundledImage,
    BundledManifest,
    Contents,
)
from connected_registry.bundle.document import Document
from connected_registry.bundle.inventory import Inventory, RefusedImage, repositories, tags
from connected_registry.bundle.seal import SealKey
from connected_registry.bundle.volumes import VolumeWriter
from connected_registry.errors import (
    BlobUnknown,
    BundleInvalid,
    ManifestUnknown,
    Unavailable,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.oci.signature import companion_tags, is_companion_tag
from connected_registry.policy.scope import RepositoryRule, Scope
from connected_registry.storage import disk
from connected_registry.storage.blobs import BlobStore
from connected_registry.storage.content import TagDetails
from connected_registry.storage.registry import Registry

Tell = Callable[[int, int], None]
"""Told bytes done and bytes in all."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A bundle that can be written: its contents, and what is left out and why."""

    contents: Contents
    left_out: tuple[RefusedImage, ...]
    current: int
    """Images that the site has already."""


class Written(Document):
    """A bundle that was written."""

    bundle: str
    files: tuple[str, ...]
    images: tuple[str, ...]
    bytes: int
    current: int
    left_out: tuple[RefusedImage, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """An image with all its blobs."""

    image: BundledImage
    blobs: dict[Digest, int]
    priority: int


class Exporter:
    """Exports from one registry. Synchronous: for worker threads."""

    def __init__(self, registry: Registry, blobs: BlobStore) -> None:
        self._registry = registry
        self._blobs = blobs

    def plan(
        self, scope: Scope | None, lacking: Inventory | None = None, volume_size: int | None = None
    ) -> Planned:
        """Choose the images of ``scope`` (None: all), without what ``lacking`` shows to be there.

        Images that are not whole here are left out.
        """
        found: list[_Found] = []
        left_out: list[RefusedImage] = []
        for repository in repositories(self._registry):
            rule = scope.rule_for(repository) if scope is not None else None
            if scope is not None and rule is None:
                continue
            held = tags(self._registry, repository)
            for tag in held:
                if not is_companion_tag(tag.name) and (rule is None or rule.selects(tag.name)):
                    try:
                        found.append(self._image(repository, tag, rule, held))
                    except _Partly as error:
                        left_out.append(error.refused)
        found.sort(key=lambda each: (-each.priority, each.image.size, str(each.image)))
        return self._arranged(found, left_out, lacking, volume_size)

    def write(self, planned: Planned, output: Path, key: SealKey | None, tell: Tell) -> Written:
        """Write the bundle; nothing is left behind when it fails. Raises `DiskFull` and others."""
        contents = planned.contents
        table = contents.write()
        seal = key.seal(table) if key is not None else None
        head = archive.head(table, seal)
        total = archive.total_size(contents, len(head))
        writer = VolumeWriter(output, contents.volume_size)
        done = 0
        try:
            for piece in self._pieces(contents, head):
                writer.write(piece)
                done += len(piece)
                tell(done, total)
            writer.finish()
        except BaseException:
            writer.discard()
            raise
        return Written(
            bundle=Digest.of(table),
            files=tuple(str(path) for path in writer.written),
            images=tuple(str(image) for image in contents.images),
            bytes=total,
            current=planned.current,
            left_out=planned.left_out,
        )

    def _image(
        self,
        repository: RepositoryName,
        tag: TagDetails,
        rule: RepositoryRule | None,
        held: list[TagDetails],
    ) -> _Found:
        platforms = rule.wanted_platforms if rule is not None else ()
        name = f"{repository}:{tag.name}"
        whole = self._registry.closure(repository, tag.digest, platforms)
        if not whole.complete:
            detail = f"{len(whole.missing)} parts of it are not here; sync it first"
            raise _Partly(RefusedImage(image=name, reason="incomplete", detail=detail))
        manifests = list(reversed(whole.manifests))
        blobs = dict(whole.blobs)
        companions: list[BundledCompanion] = []
        if rule is None or rule.referrers:
            companions = self._add_referrers(repository, manifests, blobs, held)
        try:
            described = [self._manifest(repository, digest) for digest in manifests]
            root = self._registry.resolve(repository, tag.digest)
        except (ManifestUnknown, Unavailable) as error:
            raise _Partly(
                RefusedImage(image=name, reason="damaged", detail=f"{error}; run verify")
            ) from error
        image = BundledImage(
            repository=repository,
            tag=Tag(tag.name),
            digest=tag.digest,
            size=sum(each.size for each in described) + sum(blobs.values()),
            confirmed_at=tag.confirmed_at,
            created=created(root.content, root.media_type, self._read),
            manifests=tuple(described),
            companions=tuple(companions),
        )
        return _Found(image, blobs, rule.priority if rule is not None else 0)

    def _add_referrers(
        self,
        repository: RepositoryName,
        manifests: list[Digest],
        blobs: dict[Digest, int],
        held: list[TagDetails],
    ) -> list[BundledCompanion]:
        """Append what refers to the image, and what refers to that."""
        tagged = {tag.name: tag.digest for tag in held}
        companions: list[BundledCompanion] = []
        seen = set(manifests)
        for subject in manifests:  # grows while it is walked
            listed = self._registry.list_referrers(repository, subject)
            roots = [Digest(each["digest"]) for each in listed]
            for tag in companion_tags(subject):
                if tag in tagged:
                    companions.append(BundledCompanion(tag=tag, digest=tagged[tag]))
                    roots.append(tagged[tag])
            for root in roots:
                whole = self._registry.closure(repository, root)
                # A list of referrers may name what is deleted: what is here counts.
                for digest in reversed(whole.manifests):
                    if digest not in seen:
                        seen.add(digest)
                        manifests.append(digest)
                blobs.update(whole.blobs)
        unique = {companion.tag: companion for companion in companions}
        return [each for each in unique.values() if each.digest in seen]

    def _manifest(self, repository: RepositoryName, digest: Digest) -> BundledManifest:
        stored = self._registry.resolve(repository, digest)
        return BundledManifest(digest=digest, media_type=stored.media_type, size=stored.size)

    def _read(self, digest: Digest) -> bytes | None:
        try:
            return self._blobs.read(digest)
        except BlobUnknown:
            return None

    def _arranged(
        self,
        found: list[_Found],
        left_out: list[RefusedImage],
        lacking: Inventory | None,
        volume_size: int | None,
    ) -> Planned:
        there = frozenset(lacking.digests) if lacking is not None else frozenset()
        named = (
            {(each.repository, each.tag, each.digest) for each in lacking.images}
            if (lacking is not None)
            else set()
        )
        images: list[BundledImage] = []
        content: dict[Digest, int] = {}
        blobs: dict[Digest, int] = {}
        for each in found:
            image = each.image
            every = {m.digest: m.size for m in image.manifests} | each.blobs
            tagged = [(image.tag, image.digest), *((c.tag, c.digest) for c in image.companions)]
            if there.issuperset(every) and all(
                (image.repository, tag, digest) in named for tag, digest in tagged
            ):
                continue
            images.append(image)
            content.update((m.digest, m.size) for m in image.manifests if m.digest not in there)
            blobs.update((digest, n) for digest, n in each.blobs.items() if digest not in there)
        offset = len(archive.preamble(images))
        files: list[BundledFile] = []
        for digest, size in (content | blobs).items():
            offset += len(archive.header(archive.blob_name(digest), size))
            files.append(BundledFile(digest=digest, size=size, offset=offset))
            offset += size + archive.padding(size)
        contents = Contents(
            made_for=lacking.site if lacking is not None else None,
            volume_size=volume_size,
            data_size=offset + len(archive.END),
            images=tuple(images),
            files=tuple(files),
        )
        return Planned(contents, tuple(left_out), current=len(found) - len(images))

    def _pieces(self, contents: Contents, head: bytes) -> Iterator[bytes | memoryview]:
        yield head
        yield archive.preamble(contents.images)
        for file in contents.files:
            yield archive.header(archive.blob_name(file.digest), file.size)
            yield from self._content(file)
            yield bytes(archive.padding(file.size))
        yield archive.END

    def _content(self, file: BundledFile) -> Iterator[memoryview]:
        """The stored bytes, which must be what they were."""
        again = "run verify, then export again"
        self._blobs.attention.note(file.digest)
        hashed, size = file.digest.new_hash(), 0
        with disk.disk_errors(f"cannot read {file.digest}"):
            try:
                descriptor = disk.look(self._blobs.path(file.digest))
            except FileNotFoundError:
                raise BundleInvalid(f"{file.digest} was removed meanwhile: export again") from None
        with os.fdopen(descriptor, "rb"):
            for chunk in disk.read_chunks(descriptor):
                hashed.update(chunk)
                size += len(chunk)
                if size > file.size:
                    break
                yield chunk
        if size != file.size or Digest.from_hash(hashed) != file.digest:
            raise BundleInvalid(f"the stored {file.digest} is damaged: {again}")


class _Partly(Exception):
    """An image that cannot go along."""

    def __init__(self, refused: RefusedImage) -> None:
        super().__init__(refused.detail)
        self.refused = refused
