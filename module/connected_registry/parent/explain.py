"""Say why an image is absent or old, and whether it is whole: from what is known, asking nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from connected_registry.errors import ManifestUnknown, NameUnknown, Unavailable
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Kind, Manifest
from connected_registry.oci.platform import Platform
from connected_registry.oci.reference import ImageName, RepositoryName, Tag
from connected_registry.oci.signature import is_companion_tag
from connected_registry.parent.memory import Memory, RepositoryFacts
from connected_registry.parent.plan import TagReason
from connected_registry.parent.selection import candidates
from connected_registry.policy.scope import RepositoryRule, Scope

if TYPE_CHECKING:
    from connected_registry.storage.ledger import ImageState, Ledger
    from connected_registry.storage.registry import Registry

MAX_TAGS: Final = 200
"""Tags looked through for an index that names a digest."""


class Reason(StrEnum):
    """The one reason, for programs."""

    PRESENT = "present"
    OUT_OF_SCOPE = "out of scope"
    FILTERED = "filtered tag"
    PLATFORM = "platform"
    NOT_AT_PARENT = "not at parent"
    CREDENTIAL = "credential"
    OFFLINE = "offline"
    WINDOW = "window"
    BUDGET = "budget"
    DISK = "disk"
    PAUSED = "paused"
    GUARD = "deletion guard"
    FAILED = "failed"
    PENDING = "pending"
    NEVER = "never synced"


_BY_FAILURE: Final = {
    "unauthorized": Reason.CREDENTIAL,
    "offline": Reason.OFFLINE,
    "disk": Reason.DISK,
    "not found": Reason.NOT_AT_PARENT,
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What holds back syncing as a whole at the moment."""

    paused: bool = False
    syncing: bool = False
    window_opens: datetime | None = None
    """When the window opens next; None while it is open or there is none."""
    stopped: str | None = None
    """Why the last run ended early."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an image is as it is here. ``current``: it is whole and what the parent last named."""

    image: str
    reason: Reason
    detail: str
    current: bool = False
    digest: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer of the direct method ``explain``."""
        return {
            "image": self.image,
            "reason": self.reason.value,
            "detail": self.detail,
            "current": self.current,
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """Whether an image can be pulled whole with the parent away."""

    image: str
    complete: bool
    digest: Digest | None = None
    reason: str | None = None
    missing: int = 0
    missing_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """One row of the answer of the direct method ``checkImages``."""
        return {
            "image": self.image,
            "complete": self.complete,
            "digest": self.digest,
            "reason": self.reason,
            "missing": {"blobs": self.missing, "bytes": self.missing_bytes},
        }


class Explainer:
    """Answers from scope, ledger and store. Synchronous: call it in a thread."""

    def __init__(
        self,
        scope: Scope,
        registry: Registry,
        ledger: Ledger,
        memory: Memory,
        circumstances: Circumstances,
    ) -> None:
        self._scope = scope
        self._registry = registry
        self._ledger = ledger
        self._memory = memory
        self._circumstances = circumstances

    def explain(self, image: ImageName) -> Explanation:
        """The one reason for which ``image`` is absent or old, or that it is present."""
        rule = self._scope.rule_for(image.repository)
        if image.tag is None or image.digest is not None:
            return self._explain_digest(image, rule)
        held = self._held(image.repository, image.tag)
        state = self._ledger.image(image.repository, image.tag)
        if held is not None and _is_right(state, held):
            return self._explain_held(image, held, state, rule)
        reason, detail = self._why_absent(image.repository, image.tag, rule, state)
        if held is not None:
            detail = f"{detail}; until then {held} is served"
        return Explanation(str(image), reason, detail, digest=held)

    def check(self, image: ImageName, platform: Platform | None = None) -> Check:
        """Whether ``image`` is whole here, for one platform or for those the scope names."""
        rule = self._scope.rule_for(image.repository)
        root = self._held(image.repository, image.reference)
        if root is None:
            found = self.explain(image)
            return Check(str(image), False, reason=f"{found.reason}: {found.detail}")
        wanted: Sequence[Platform] = rule.wanted_platforms if rule is not None else ()
        if platform is not None:
            if not self._offers(image.repository, root, platform):
                text = f"platform: the image has no {platform}"
                return Check(str(image), False, root, text)
            wanted = (platform,)
        closure = self._registry.closure(image.repository, root, wanted)
        if closure.complete:
            return Check(str(image), True, root)
        missing = [each for each in closure.missing if each.reason != "not selected"]
        size = sum(each.size for each in missing)
        return Check(
            str(image),
            False,
            root,
            f"{len(missing)} parts of it are not here, {missing[0].digest} for one",
            len(missing),
            size,
        )

    def _held(self, repository: RepositoryName, reference: Tag | Digest) -> Digest | None:
        try:
            return self._registry.resolve(repository, reference).digest
        except (ManifestUnknown, Unavailable):
            return None

    def _explain_digest(self, image: ImageName, rule: RepositoryRule | None) -> Explanation:
        assert image.digest is not None
        name = str(image)
        if self._held(image.repository, image.digest) is not None:
            check = self.check(image)
            if check.complete:
                return Explanation(name, Reason.PRESENT, "it is whole here", True, image.digest)
            return Explanation(name, Reason.FAILED, check.reason or "", digest=image.digest)
        if rule is None:
            return _out_of_scope(image)
        if (index := self._index_naming(image.repository, image.digest)) is not None:
            wanted = ", ".join(rule.platforms) or "those the parent holds"
            return Explanation(
                name,
                Reason.PLATFORM,
                f"{image.repository}:{index} names it for a platform other than {wanted}",
            )
        reason, detail = self._why_unheard(image.repository, rule)
        if reason is Reason.NOT_AT_PARENT:
            detail = f"no tag in scope leads to {image.digest}; only tagged images are synced"
        return Explanation(name, reason, detail)

    def _index_naming(self, repository: RepositoryName, digest: Digest) -> str | None:
        try:
            page = self._registry.tag_details(repository, limit=MAX_TAGS)
        except NameUnknown:
            return None
        for details in page.items:
            closure = self._registry.closure(repository, details.digest)
            if any(each.digest == digest for each in closure.missing):
                return details.name
        return None

    def _offers(self, repository: RepositoryName, root: Digest, platform: Platform) -> bool:
        """Whether an index names an image for the platform; true for what is no index."""
        stored = self._registry.resolve(repository, root)
        manifest = Manifest.parse(stored.content, stored.media_type)
        if manifest.kind is not Kind.INDEX:
            return True
        return any(
            child.platform is None or child.platform.matches(platform)
            for child in manifest.children
        )

    def _explain_held(
        self,
        image: ImageName,
        held: Digest,
        state: ImageState | None,
        rule: RepositoryRule | None,
    ) -> Explanation:
        name = str(image)
        check = self.check(image)
        if not check.complete:
            return Explanation(name, Reason.FAILED, check.reason or "", digest=held)
        if state is None:
            return Explanation(name, Reason.PRESENT, "it is whole and was made here", True, held)
        if rule is None:
            return Explanation(
                name, Reason.OUT_OF_SCOPE, "kept, though no rule names it any more", digest=held
            )
        if state.reason == TagReason.OUT_OF_SCOPE:
            why = rule.why_not(state.tag) or "it is not among the newest"
            return Explanation(
                name, Reason.FILTERED, f"kept, though no longer updated: {why}", digest=held
            )
        if state.state == "held back":
            return Explanation(name, Reason.GUARD, f"kept: {state.reason}", digest=held)
        listed_at = self._memory.repository(image.repository).listed_at
        when = f", as the parent confirmed at {listed_at:%Y-%m-%dT%H:%M:%SZ}" if listed_at else ""
        return Explanation(name, Reason.PRESENT, f"it is whole and current{when}", True, held)

    def _why_absent(
        self,
        repository: RepositoryName,
        tag: Tag,
        rule: RepositoryRule | None,
        state: ImageState | None,
    ) -> tuple[Reason, str]:
        if rule is None:
            found = _out_of_scope(ImageName(repository, tag))
            return found.reason, found.detail
        if (why := rule.why_not(tag)) is not None:
            return Reason.FILTERED, why
        if is_companion_tag(tag) and not candidates(rule, [tag]) and state is None:
            return Reason.FILTERED, "it belongs to another image and comes and goes with that"
        if state is not None and state.state == "failed":
            reason = _BY_FAILURE.get(state.reason or "", Reason.FAILED)
            return reason, f"{state.reason}: {state.detail}"
        if state is not None and state.reason == TagReason.PLATFORM:
            return Reason.PLATFORM, state.detail or TagReason.PLATFORM.value
        if state is not None and state.state == "pending":
            return self._why_pending()
        facts = self._memory.repository(repository)
        if tag in facts.not_newest:
            return (
                Reason.FILTERED,
                f"it is not among the {rule.newest} newest of rule {rule.name!r}",
            )
        return self._why_unheard(repository, rule)

    def _why_pending(self) -> tuple[Reason, str]:
        now = self._circumstances
        if now.syncing:
            return Reason.PENDING, "a sync is bringing it"
        if (held_up := self._held_up()) is not None:
            return held_up
        return Reason.PENDING, "the next sync brings it"

    def _held_up(self) -> tuple[Reason, str] | None:
        """What keeps syncs from running or finishing."""
        now = self._circumstances
        if now.paused:
            return Reason.PAUSED, "syncing is paused"
        if now.stopped == "budget":
            return Reason.BUDGET, "the byte budget of this period is used up"
        if now.window_opens is not None:
            opens = f"{now.window_opens:%Y-%m-%dT%H:%M:%SZ}"
            return Reason.WINDOW, f"the sync window is closed; it opens at {opens}"
        connection = self._memory.connection
        if connection.kind in ("offline", "unauthorized"):
            return _BY_FAILURE[connection.kind], connection.detail or connection.kind
        return None

    def _why_unheard(self, repository: RepositoryName, rule: RepositoryRule) -> tuple[Reason, str]:
        """Nothing is known of the tag: was its repository ever listed?"""
        facts: RepositoryFacts = self._memory.repository(repository)
        if facts.failure is not None:
            reason = _BY_FAILURE.get(facts.failure, Reason.FAILED)
            return reason, f"the repository was not listed: {facts.detail}"
        if facts.listed_at is not None:
            return (
                Reason.NOT_AT_PARENT,
                f"the parent did not list it at {facts.listed_at:%Y-%m-%dT%H:%M:%SZ}",
            )
        if (held_up := self._held_up()) is not None:
            return held_up
        if rule.is_pattern and self._memory.completeness.as_of is not None:
            return Reason.NOT_AT_PARENT, "the parent's catalogue does not name the repository"
        return Reason.NEVER, "the repository was never compared with the parent"


def _is_right(state: ImageState | None, held: Digest) -> bool:
    return state is None or (state.state in ("synced", "held back") and state.held == held)


def _out_of_scope(image: ImageName) -> Explanation:
    return Explanation(
        str(image), Reason.OUT_OF_SCOPE, f"no rule of the scope names {image.repository}"
    )
