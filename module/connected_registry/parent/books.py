"""Keep the ledger in step with what plans find and what syncs do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from connected_registry.oci.digest import Digest
from connected_registry.parent.carry import Carried
from connected_registry.parent.memory import Completeness, InSync, Memory
from connected_registry.parent.plan import Plan, RepositoryPlan, TagNote, TagReason
from connected_registry.parent.survey import remember
from connected_registry.policy.scope import Scope
from connected_registry.storage.ledger import ImageState, State

if TYPE_CHECKING:
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.registry import Registry


class Books:
    """Writes what happened. Synchronous: called in threads, one call at a time."""

    def __init__(
        self, ledger: Ledger, registry: Registry, memory: Memory, clock: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._memory = memory
        self._clock = clock

    def enter(self, plan: Plan, scope: Scope) -> None:
        """Note what a plan found, before anything of it is done."""
        now = self._clock()
        for part in plan.repositories:
            facts = self._memory.repository(part.repository)
            if part.listed_at is None:
                for failure in part.failures:
                    facts = replace(facts, failure=failure.reason, detail=failure.detail)
            else:
                facts = remember(facts, part)
                self._enter_repository(part, now)
            self._memory.repositories[part.repository] = facts
        if plan.whole_scope and not plan.failures:
            named = {part.repository for part in plan.repositories}
            self._memory.forget_repositories(set(self._memory.repositories) - named)
        self._judge(
            plan, fingerprint(scope), _images_missing(plan, frozenset()), plan.bytes_to_fetch
        )
        self._memory.save()

    def close(self, plan: Plan, carried: Carried) -> None:
        """Note what is missing after a run."""
        done = frozenset(str(image) for image in carried.images)
        to_fetch = plan.to_fetch
        wanted = {
            blob.digest
            for image in plan.images
            if str(image) not in done
            for blob in image.blobs
            if blob.digest in to_fetch
        }
        left = wanted - self._registry.holds(wanted)
        known = self._memory.completeness
        self._judge(
            plan,
            known.scope,
            _images_missing(plan, done),
            sum(to_fetch[digest] for digest in left),
        )

    def one_less_missing(self) -> None:
        """Count one image that came in; `close` has the exact figures later."""
        known = self._memory.completeness
        self._memory.completeness = replace(known, missing_images=max(known.missing_images - 1, 0))

    def _judge(self, plan: Plan, scope: str, images: int, size: int) -> None:
        known = self._memory.completeness
        unheard = [failure for failure in plan.all_failures if failure.tag is None]
        if not plan.whole_scope and (unheard or images == 0):
            # Part of the scope does not tell that the whole is complete.
            return
        complete: InSync = "false" if images else "unknown" if unheard else "true"
        as_of = plan.made_at if plan.whole_scope and not unheard else known.as_of
        self._memory.completeness = Completeness(complete, as_of, images, size, scope)

    def _enter_repository(self, part: RepositoryPlan, now: datetime) -> None:
        known = part.known
        found = {state.tag: state for state in _states(part)}
        fresh = [state for tag, state in found.items() if _differs(known.get(tag), state)]
        if fresh:
            self._ledger.record_images(fresh, now)
        leaving = {note.tag for note in part.removals}
        for tag in known.keys() - found.keys() - leaving:
            self._ledger.forget_image(part.repository, tag)
        if part.referrers_asked and part.current:
            # As often as referrers are asked for: often enough for a date, rare enough for flash.
            tags = {image.tag: image.digest for image in part.current}
            self._registry.confirm_tags(part.repository, tags, now)


def fingerprint(scope: Scope) -> str:
    """Equal for scopes that select the same."""
    rules = sorted(f"{rule.name} {rule.fingerprint}" for rule in scope.repositories)
    return hashlib.sha256("\n".join(rules).encode()).hexdigest()[:16]


def _images_missing(plan: Plan, done: frozenset[str]) -> int:
    failed = {failure.name for failure in plan.all_failures if failure.tag is not None}
    return len(failed) + sum(1 for image in plan.images if str(image) not in done)


def _states(part: RepositoryPlan) -> Iterable[ImageState]:
    """What the ledger should say of each tag that the plan speaks of."""
    known = part.known
    for current in part.current:
        yield ImageState(
            part.repository,
            current.tag,
            current.digest,
            current.digest,
            "synced",
            rule_fingerprint=current.rule_fingerprint,
            confirmed_at=part.listed_at,
        )
    for image in part.images:
        yield ImageState(
            part.repository,
            image.tag,
            image.digest,
            image.previous,
            "pending",
            bytes_missing=image.bytes_to_fetch,
            rule_fingerprint=image.rule_fingerprint,
        )
    for failure in part.failures:
        if failure.tag is not None:
            before = known.get(failure.tag)
            yield ImageState(
                part.repository,
                failure.tag,
                failure.digest or (before.wanted if before else None),
                before.held if before else None,
                "failed",
                failure.reason,
                failure.detail,
                rule_fingerprint=before.rule_fingerprint if before else None,
            )
    for note in part.held_back:
        yield _noted(note, known.get(note.tag), "held back")
    for note in part.skipped:
        yield _noted(note, known.get(note.tag), "held back")
    for note in part.kept:
        yield _noted(note, known.get(note.tag), "synced")


def _noted(note: TagNote, before: ImageState | None, state: State) -> ImageState:
    """The fingerprint stays what it was: a rule that changed must not remove what it finds."""
    held: Digest | None = note.digest
    return ImageState(
        note.repository,
        note.tag,
        wanted=held if note.reason is TagReason.OUT_OF_SCOPE else None,
        held=held,
        state=state,
        reason=note.reason.value,
        detail=note.detail or None,
        rule_fingerprint=before.rule_fingerprint if before is not None else None,
    )


def _differs(before: ImageState | None, after: ImageState) -> bool:
    """Whether there is anything to write besides that it was confirmed once more."""
    if before is None:
        return True
    same_times = replace(after, confirmed_at=before.confirmed_at, changed_at=before.changed_at)
    return same_times != before
