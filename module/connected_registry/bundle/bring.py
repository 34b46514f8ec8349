"""Bring a bundle's images in: as a sync would, each a unit of its own, its tag last.

Nothing is ever removed. An import that is cut goes on where it was: what is here is not read again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from connected_registry.bundle.assemble import Assembled, Unfit, assemble
from connected_registry.bundle.contents import BundledImage, Contents
from connected_registry.bundle.inventory import Receipt, RefusedImage, tags
from connected_registry.bundle.opened import OpenBundle
from connected_registry.errors import (
    BlobUnknown,
    BundleInvalid,
    Conflict,
    DigestInvalid,
    DiskFull,
    RegistryError,
    StorageError,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import MAX_MANIFEST, Manifest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import RepositoryRule, Scope, choose_newest
from connected_registry.storage.blobs import BlobStore, Partial
from connected_registry.storage.content import ImageCommit, TagDetails
from connected_registry.storage.ledger import ImageState, Ledger
from connected_registry.storage.registry import Registry

WAIT: Final = 0.2
"""Seconds between two looks at a blob that a sync fetches at the same time."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the site wants. ``everything``: also what no rule of ``scope`` selects."""

    scope: Scope
    mode: Mode
    everything: bool = False


@dataclass(slots=True)
class Progress:
    """How far an import is, in the words of a sync's progress."""

    images_total: int = 0
    images_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    current: str = ""

    def to_json(self) -> dict[str, Any]:
        """For ``getTaskStatus``."""
        return {
            "phase": "importing",
            "imagesTotal": self.images_total,
            "imagesDone": self.images_done,
            "bytesTotal": self.bytes_total,
            "bytesDone": self.bytes_done,
            "current": self.current,
        }


@dataclass(slots=True)
class _Outcome:
    imported: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    refused: list[RefusedImage] = field(default_factory=list)
    bytes: int = 0


class Importer:
    """One import. Synchronous: for a worker thread. ``stop`` is asked now and then."""

    def __init__(
        self,
        registry: Registry,
        blobs: BlobStore,
        ledger: Ledger,
        rules: Rules,
        *,
        clock: Callable[[], datetime],
        arrived: Callable[[dict[str, Any]], None] = lambda _facts: None,
        stop: Callable[[], bool] = lambda: False,
        admit: Callable[[str, int], str | None] = lambda _image, _size: None,
    ) -> None:
        """``arrived`` is told the facts of each image as soon as it is visible.

        ``admit`` is asked before so many bytes of an image are stored; its answer is why they may
        not be.
        """
        self._registry = registry
        self._blobs = blobs
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._arrived = arrived
        self._stop = stop
        self._admit = admit
        self.progress = Progress()

    def run(self, bundle: OpenBundle, *, checked: bool) -> Receipt:
        """Bring in what the rules let in; the rest is told in the receipt.

        Images whose bytes are damaged or missing are refused one by one. ``checked``: the
        signature was. Raises `DiskFull` and `Conflict` when stopped; what came in before stays.
        """
        contents, outcome = bundle.contents, _Outcome()
        chosen = self._chosen(contents, outcome)
        self.progress.images_total = len(chosen)
        self.progress.bytes_total = sum(file.size for file in contents.files)
        for image, rule in chosen:
            self.progress.current = str(image)
            try:
                self._image(bundle, image, rule, outcome)
            except Unfit as error:
                outcome.refused.append(_refused(image, error.reason, error))
            except BundleInvalid as error:
                outcome.refused.append(_refused(image, "damaged", error))
            except (DiskFull, Conflict):
                raise
            except (StorageError, RegistryError) as error:
                outcome.refused.append(_refused(image, "invalid", error))
            self.progress.images_done += 1
        return Receipt(
            bundle=bundle.digest,
            imported_at=self._clock(),
            signed=checked,
            imported=tuple(outcome.imported),
            current=tuple(outcome.current),
            refused=tuple(outcome.refused),
            bytes_imported=outcome.bytes,
        )

    def _chosen(
        self, contents: Contents, outcome: _Outcome
    ) -> list[tuple[BundledImage, RepositoryRule | None]]:
        """What the scope selects, in the bundle's order."""
        chosen: list[tuple[BundledImage, RepositoryRule | None]] = []
        newest = _newest(contents, self._rules.scope)
        for image in contents.images:
            rule = self._rules.scope.rule_for(image.repository)
            reason = (
                f"no rule of the scope names repository {image.repository!r}"
                if rule is None
                else rule.why_not(image.tag)
            )
            if reason is None and rule is not None and image.tag not in newest[image.repository]:
                reason = f"it is not among the newest {rule.newest} of rule {rule.name!r}"
            if reason is None:
                chosen.append((image, rule))
            elif self._rules.everything:
                chosen.append((image, None))
            else:
                outcome.refused.append(
                    RefusedImage(
                        image=str(image),
                        reason="out of scope",
                        detail=f"{reason}; --all takes it all the same",
                    )
                )
        return chosen

    def _image(
        self,
        bundle: OpenBundle,
        image: BundledImage,
        rule: RepositoryRule | None,
        outcome: _Outcome,
    ) -> None:
        held = {tag.name: tag for tag in tags(self._registry, image.repository)}
        self._refuse_backward(image, held.get(image.tag))
        manifests = {
            each.digest: self._manifest(bundle, image, each.digest, each.media_type)
            for each in image.manifests
        }
        parts = assemble(image, {d: m for d, m in manifests.items() if m is not None}, rule)
        if self._is_here(image, parts, held):
            self._note(image, rule)
            outcome.current.append(str(image))
            return
        self._keep_documents(parts)
        lacking = {d: size for d, size in parts.blobs.items() if not self._blobs.holds(d, size)}
        for digest in lacking:
            place = bundle.contents.places.get(digest)
            if place is None or place.size != lacking[digest]:
                raise Unfit(
                    "missing",
                    f"{digest} is neither in the bundle nor here: export again with a fresh "
                    "inventory of this site",
                )
        needed = sum(size - min(self._blobs.partial_size(d), size) for d, size in lacking.items())
        if needed and (reason := self._admit(str(image), needed)) is not None:
            raise Unfit("disk", reason)
        for digest, size in lacking.items():
            outcome.bytes += self._blob(bundle, digest, size)
        self._commit(image, parts)
        self._note(image, rule)
        outcome.imported.append(str(image))
        self._arrived(_facts(image, parts, held.get(image.tag)))

    def _refuse_backward(self, image: BundledImage, held: TagDetails | None) -> None:
        if held is None or held.digest == image.digest:
            return
        if held.origin == "local" and self._rules.mode is Mode.READ_WRITE:
            raise Unfit("pushed here", "the tag was pushed here and stays as it is")
        if (
            held.origin == "parent"
            and held.confirmed_at is not None
            and image.confirmed_at is not None
            and image.confirmed_at < held.confirmed_at
        ):
            raise Unfit(
                "older",
                f"the parent confirmed the one here on {held.confirmed_at.isoformat()}, and the "
                f"bundle's on {image.confirmed_at.isoformat()}",
            )

    def _manifest(
        self, bundle: OpenBundle, image: BundledImage, digest: Digest, media_type: str
    ) -> Manifest | None:
        content = self._document(digest)
        if content is None:
            place = bundle.contents.places.get(digest)
            if place is None:
                return None
            if place.size > MAX_MANIFEST:
                raise Unfit("invalid", f"manifest {digest} is larger than {MAX_MANIFEST} bytes")
            content = b"".join(bundle.stream(digest))
            if not digest.matches(content):
                raise bundle.damaged(digest)
            self.progress.bytes_done += len(content)
        return Manifest.parse(content, media_type)

    def _document(self, digest: Digest) -> bytes | None:
        """A manifest's bytes as far as they are here and right."""
        try:
            content = self._blobs.read(digest)
        except BlobUnknown:
            return None
        return content if digest.matches(content) else None

    def _is_here(self, image: BundledImage, parts: Assembled, held: dict[str, TagDetails]) -> bool:
        tagged = {image.tag: image.digest} | parts.companions
        if any(tag not in held or held[tag].digest != digest for tag, digest in tagged.items()):
            return False
        shown: set[Digest] = set()
        for root in [image.digest, *parts.manifests]:
            if root not in shown:
                whole = self._registry.closure(image.repository, root)
                shown.update(whole.manifests)
                if root not in shown or not {d for d, _ in whole.blobs}.issuperset(
                    blob.digest for blob in parts.manifests[root].blobs
                ):
                    return False
        return self._registry.holds(parts.blobs) == set(parts.blobs)

    def _keep_documents(self, parts: Assembled) -> None:
        """What manifests carry within is asked for as blobs, too."""
        for manifest in parts.manifests.values():
            for each in manifest.embedded:
                assert each.data is not None
                self._blobs.put(each.data, each.digest.algorithm)

    def _blob(self, bundle: OpenBundle, digest: Digest, size: int) -> int:
        """Copy one blob, from where an earlier import ended; the bytes read."""
        partial = self._turn(digest, size)
        if partial is None:
            return 0
        with partial:
            begun = partial.offset
            self.progress.bytes_done += begun
            for chunk in bundle.stream(digest, begun):
                if self._stop():
                    raise _stopped()
                partial.write(chunk)
                self.progress.bytes_done += len(chunk)
            try:
                partial.finish()
            except DigestInvalid:
                raise bundle.damaged(digest) from None
        return size - begun

    def _turn(self, digest: Digest, size: int) -> Partial | None:
        """The blob's download, once no sync fetches it; None when that one has brought it."""
        while not self._blobs.holds(digest, size):
            if self._stop():
                raise _stopped()
            try:
                return self._blobs.partial(digest, size)
            except DiskFull:
                raise
            except StorageError as error:
                if "being fetched already" not in str(error):
                    raise
            time.sleep(WAIT)
        return None

    def _commit(self, image: BundledImage, parts: Assembled) -> None:
        self._registry.commit_image(
            ImageCommit(
                repository=image.repository,
                tags=(image.tag,),
                root=image.digest,
                manifests=tuple(
                    (digest, manifest.media_type, manifest.content)
                    for digest, manifest in parts.manifests.items()
                ),
                blobs=tuple(parts.blobs.items()),
                confirmed_at=image.confirmed_at,
                companions=tuple(parts.companions.items()),
            )
        )

    def _note(self, image: BundledImage, rule: RepositoryRule | None) -> None:
        """As a sync notes it, so that the next one has nothing to do."""
        if rule is None:
            return
        known = self._ledger.image(image.repository, image.tag)
        confirmed = [image.confirmed_at, known.confirmed_at if known is not None else None]
        self._ledger.record_image(
            ImageState(
                image.repository,
                image.tag,
                wanted=image.digest,
                held=image.digest,
                state="synced",
                rule_fingerprint=rule.fingerprint,
                confirmed_at=max((each for each in confirmed if each), default=None),
            ),
            self._clock(),
        )


def _newest(contents: Contents, scope: Scope) -> dict[RepositoryName, frozenset[str]]:
    """Per repository the tags that its rule leaves of those in the bundle."""
    listed: defaultdict[RepositoryName, list[tuple[str, datetime | None]]] = defaultdict(list)
    for image in contents.images:
        listed[image.repository].append((image.tag, image.created))
    found: dict[RepositoryName, frozenset[str]] = {}
    for repository, dated in listed.items():
        rule = scope.rule_for(repository)
        if rule is None or rule.newest is None:
            found[repository] = frozenset(tag for tag, _ in dated)
        else:
            found[repository] = frozenset(choose_newest(rule, dated))
    return found


def _stopped() -> Conflict:
    return Conflict("the import was stopped; start it again to go on")


def _refused(image: BundledImage, reason: str, error: Exception) -> RefusedImage:
    return RefusedImage(image=str(image), reason=reason, detail=str(error))


def _facts(image: BundledImage, parts: Assembled, held: TagDetails | None) -> dict[str, Any]:
    """What a sync tells of an image that came in."""
    root = parts.manifests[image.digest]
    return {
        "repository": image.repository,
        "tag": Tag(image.tag),
        "digest": image.digest,
        "mediaType": root.media_type,
        "size": root.size,
        "bytes": sum(parts.blobs.values()),
        "previous": held.digest if held is not None else None,
    }
