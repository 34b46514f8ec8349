"""What a sync would do, as values: nothing here asks the parent or touches the disk.

A `Plan` is complete in itself: it can be printed, stored, compared and carried out. Sizes are
bytes. `Plan.to_json` is the answer of the direct method ``planSync``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.ledger import ImageState


class Action(StrEnum):
    """Why an image is in the plan."""

    NEW = "new"
    MOVED = "moved"
    """The tag names another digest at the parent than here."""
    EXTENDED = "extended"
    """The image is here; signatures, other referrers or platforms of it are not."""
    REPAIR = "repair"
    """The tag is right and something below it is not on disk."""


@dataclass(frozen=True, slots=True)
class PlannedBlob:
    """A config or layer that an image needs."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class PlannedManifest:
    """A manifest that an image needs; its bytes are in the blob store already."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Companion:
    """A tag that travels with an image: ``sha256-<hex>``, or with ``.sig``, ``.att``, ``.sbom``."""

    tag: Tag
    digest: Digest


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One unit of a sync: everything that becomes visible together with one tag."""

    repository: RepositoryName
    tag: Tag
    digest: Digest
    action: Action
    rule_fingerprint: str
    manifests: tuple[PlannedManifest, ...]
    """Children before their index, the root after its children, referrers last."""
    blobs: tuple[PlannedBlob, ...]
    """Every required blob below ``manifests``, each once, whether held or not."""
    previous: Digest | None = None
    companions: tuple[Companion, ...] = ()
    priority: int = 0
    new_manifests: tuple[Digest, ...] = ()
    """Those of ``manifests`` that the repository does not show yet."""
    bytes_to_fetch: int = 0
    """Of this image alone; what two images share is counted in both."""

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    def to_json(self) -> dict[str, Any]:
        """One row of the plan."""
        row: dict[str, Any] = {
            "repository": self.repository,
            "tag": self.tag,
            "digest": self.digest,
            "action": self.action.value,
            "manifests": len(self.manifests),
            "newManifests": len(self.new_manifests),
            "blobs": len(self.blobs),
            "bytes": self.bytes_to_fetch,
        }
        if self.previous is not None and self.previous != self.digest:
            row["previous"] = self.previous
        if self.companions:
            row["companions"] = [companion.tag for companion in self.companions]
        return row


@dataclass(frozen=True, slots=True)
class CurrentImage:
    """A tag that needs nothing: the parent names the digest that is whole here."""

    repository: RepositoryName
    tag: Tag
    digest: Digest
    rule_fingerprint: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


class TagReason(StrEnum):
    """Why a tag is removed, kept or left out."""

    GONE = "gone at the parent"
    SUPERSEDED = "no longer among the newest"
    GUARD = "held back by the deletion guard"
    UNCONFIRMED = "not listed by the parent, which still answers for it"
    OUT_OF_SCOPE = "out of scope"
    LOCAL = "pushed here"
    PLATFORM = "no platform of it is wanted"


@dataclass(frozen=True, slots=True)
class TagNote:
    """A tag and what the plan decided about it."""

    repository: RepositoryName
    tag: Tag
    reason: TagReason
    detail: str = ""
    digest: Digest | None = None
    """What the tag named here when the plan was made."""

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    def to_json(self) -> dict[str, Any]:
        """One row of the plan."""
        row = {"repository": self.repository, "tag": self.tag, "reason": self.reason.value}
        return {**row, "detail": self.detail} if self.detail else row


@dataclass(frozen=True, slots=True)
class PlanFailure:
    """A rule, repository or image that could not be planned; the others are not affected."""

    name: str
    """``repository``, ``repository:tag`` or the name pattern of a rule."""
    reason: str
    """A word: that of a `ParentError` kind, or invalid."""
    detail: str
    repository: RepositoryName | None = None
    tag: Tag | None = None
    digest: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """One row of the plan."""
        return {"image": self.name, "reason": self.reason, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """What is to be done in one repository."""

    repository: RepositoryName
    images: tuple[PlannedImage, ...] = ()
    current: tuple[CurrentImage, ...] = ()
    removals: tuple[TagNote, ...] = ()
    held_back: tuple[TagNote, ...] = ()
    kept: tuple[TagNote, ...] = ()
    skipped: tuple[TagNote, ...] = ()
    failures: tuple[PlanFailure, ...] = ()
    listed_at: datetime | None = None
    """When the parent gave the complete tag list; None when it did not."""
    referrers_asked: bool = False
    """Whether every image's referrers were asked for, not only those of new ones."""
    known: Mapping[Tag, ImageState] = field(default_factory=dict, repr=False, compare=False)
    """What the ledger said when the plan was made."""
    not_newest: tuple[Tag, ...] = ()
    """Tags that the filters select and ``newest`` leaves out, and that are not here."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync would do now. Made by `Planner`, carried out by `Synchronizer`."""

    made_at: datetime
    repositories: tuple[RepositoryPlan, ...] = ()
    failures: tuple[PlanFailure, ...] = ()
    """Of whole rules; those of repositories and images are in ``repositories``."""
    out_of_scope: tuple[RepositoryName, ...] = ()
    """Repositories held here that no rule names any more; nothing is done to them."""
    partials: Mapping[Digest, int] = field(default_factory=dict)
    """Bytes on disk of blobs that an earlier sync did not finish."""
    held: frozenset[Digest] = frozenset()
    """Wanted blobs that are whole on disk."""
    whole_scope: bool = True
    """False when the plan was asked for some repositories only."""

    @property
    def images(self) -> tuple[PlannedImage, ...]:
        """Every unit in the order of work: priority first, then small ones, then by name."""
        planned = (image for part in self.repositories for image in part.images)
        return tuple(sorted(planned, key=_order))

    @property
    def current(self) -> tuple[CurrentImage, ...]:
        """Every tag that needs nothing."""
        return tuple(image for part in self.repositories for image in part.current)

    @property
    def removals(self) -> tuple[TagNote, ...]:
        """Every tag to be removed."""
        return tuple(note for part in self.repositories for note in part.removals)

    @property
    def held_back(self) -> tuple[TagNote, ...]:
        """Every tag that the deletion guard keeps."""
        return tuple(note for part in self.repositories for note in part.held_back)

    @property
    def kept(self) -> tuple[TagNote, ...]:
        """Every tag held that no filter selects any more."""
        return tuple(note for part in self.repositories for note in part.kept)

    @property
    def skipped(self) -> tuple[TagNote, ...]:
        """Every tag that was left out for a reason worth telling."""
        return tuple(note for part in self.repositories for note in part.skipped)

    @property
    def all_failures(self) -> tuple[PlanFailure, ...]:
        """Every failure: of rules first, then of repositories and images."""
        below = (failure for part in self.repositories for failure in part.failures)
        return (*self.failures, *below)

    @property
    def complete(self) -> bool:
        """Whether the parent answered for the whole scope."""
        return self.whole_scope and not self.all_failures

    @property
    def blobs(self) -> dict[Digest, int]:
        """Every distinct blob that the planned images need, with its size."""
        return _distinct(image.blobs for part in self.repositories for image in part.images)

    @property
    def to_fetch(self) -> dict[Digest, int]:
        """Every distinct blob that is not whole here, with the bytes still to come."""
        return {
            digest: size - min(self.partials.get(digest, 0), size)
            for digest, size in self.blobs.items()
            if digest not in self.held
        }

    @property
    def bytes_to_fetch(self) -> int:
        """What the link will carry for blobs."""
        return sum(self.to_fetch.values())

    @property
    def bytes_held(self) -> int:
        """What the planned images need and is on disk, unfinished parts included."""
        return sum(self.blobs.values()) - self.bytes_to_fetch

    def without(self, withheld: Mapping[str, PlanFailure]) -> Plan:
        """The plan with the images of these names turned into failures."""
        if not withheld:
            return self
        parts = tuple(
            replace(
                part,
                images=tuple(image for image in part.images if str(image) not in withheld),
                failures=(
                    *part.failures,
                    *(withheld[str(image)] for image in part.images if str(image) in withheld),
                ),
            )
            for part in self.repositories
        )
        return replace(self, repositories=parts)

    def to_json(self, bytes_per_second: float | None = None) -> dict[str, Any]:
        """The whole plan as the direct method and the command line give it.

        ``bytes_per_second`` is the last rate seen; with it comes an estimate of the time.
        """
        images = self.images
        bytes_to_fetch = self.bytes_to_fetch
        document: dict[str, Any] = {
            "madeAt": self.made_at.isoformat(),
            "images": [image.to_json() for image in images],
            "imagesToFetch": len(images),
            "imagesCurrent": len(self.current),
            "manifests": len(
                {(image.repository, each) for image in images for each in image.new_manifests}
            ),
            "blobs": len(self.to_fetch),
            "bytes": bytes_to_fetch,
            "bytesHeld": self.bytes_held,
            "removals": [str(note) for note in self.removals],
            "heldBack": [note.to_json() for note in self.held_back],
            "kept": [note.to_json() for note in self.kept],
            "skipped": [note.to_json() for note in self.skipped],
            "outOfScope": list(self.out_of_scope),
            "failures": [failure.to_json() for failure in self.all_failures],
            "complete": self.complete,
        }
        if bytes_per_second:
            document["estimatedSeconds"] = round(bytes_to_fetch / bytes_per_second)
        return document


def _order(image: PlannedImage) -> tuple[int, int, str, str]:
    return (-image.priority, image.bytes_to_fetch, image.repository, image.tag)


def _distinct(groups: Iterable[Iterable[PlannedBlob]]) -> dict[Digest, int]:
    return {blob.digest: blob.size for blobs in groups for blob in blobs}
