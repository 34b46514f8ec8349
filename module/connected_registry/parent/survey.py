"""One repository compared: what the parent lists, what the rule wants, what is here."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from connected_registry.errors import (
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    ParentError,
    ParentNotFound,
    ParentOffline,
    ParentThrottled,
    Unavailable,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.oci.signature import is_companion_tag, subject_of_tag
from connected_registry.parent.dates import Dates
from connected_registry.parent.documents import Documents
from connected_registry.parent.gather import Gathered, Gatherer, NoPlatform
from connected_registry.parent.memory import RepositoryFacts
from connected_registry.parent.plan import (
    Action,
    CurrentImage,
    PlanFailure,
    PlannedImage,
    RepositoryPlan,
    TagNote,
    TagReason,
)
from connected_registry.parent.removal import suspects
from connected_registry.parent.selection import Choice, candidates, choose, needs_dates
from connected_registry.parent.together import together
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import RepositoryRule
from connected_registry.storage.content import TagDetails
from connected_registry.storage.ledger import ImageState

if TYPE_CHECKING:
    from connected_registry.parent.listing import ListedTag
    from connected_registry.parent.paced import PacedClient
    from connected_registry.storage.blobs import BlobStore
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.registry import Registry

REFERRERS_EVERY: Final = timedelta(hours=1)
"""How often an image that has not changed is asked for new signatures."""

Outcome = PlannedImage | CurrentImage | TagNote | PlanFailure


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every survey of one plan shares."""

    client: PacedClient
    registry: Registry
    blobs: BlobStore
    ledger: Ledger
    documents: Documents
    dates: Dates
    mode: Mode
    now: datetime
    resync: bool
    max_delete_percent: int


class Survey:
    """Compares one repository under one rule. Used once."""

    def __init__(
        self,
        around: Surroundings,
        repository: RepositoryName,
        rule: RepositoryRule,
        facts: RepositoryFacts,
    ) -> None:
        self._around = around
        self._repository = repository
        self._rule = rule
        self._ask_referrers = rule.referrers and (
            around.resync or not _recent(facts.referrers_asked_at, around.now)
        )
        self._listed: dict[Tag, ListedTag] = {}
        self._held: dict[Tag, TagDetails] = {}
        self._states: dict[Tag, ImageState] = {}
        self._waiting: frozenset[Tag] = frozenset()
        self._heads: dict[Tag, Digest | None] = {}
        self._gathered: dict[Digest, Gathered] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._gone: ParentError | None = None
        self._media_types: dict[Digest, str] = {}
        self._fresh_subjects: frozenset[str] = frozenset()

    async def compare(self) -> RepositoryPlan:
        """The repository's part of the plan.

        Raises a `ParentError` when the parent does not list the repository: then nothing is known
        of it, and nothing is done to it.
        """
        around, rule = self._around, self._rule
        listing = await around.client.list_tags(self._repository)
        self._listed = {tag.name: tag for tag in listing.tags}
        await asyncio.to_thread(self._look_here)
        self._fresh_subjects = self._subjects_of_fresh_companions()
        choice = await self._choose(candidates(rule, self._listed))
        self._gatherer = Gatherer(
            around.client, around.documents, self._repository, rule, self._listed, self._head
        )
        outcomes = await together(self._outcome(tag) for tag in choice.chosen)
        removals, held_back, kept, failures = await self._unwanted(choice)
        failed = [outcome for outcome in outcomes if isinstance(outcome, PlanFailure)]
        if self._gone is not None and outcomes and len(failed) == len(outcomes):
            raise self._gone
        if failed:
            # Something newer may not have come in: what it would replace stays.
            removals = [note for note in removals if note.reason is not TagReason.SUPERSEDED]
        return RepositoryPlan(
            repository=self._repository,
            images=tuple(each for each in outcomes if isinstance(each, PlannedImage)),
            current=tuple(each for each in outcomes if isinstance(each, CurrentImage)),
            removals=tuple(removals),
            held_back=tuple(held_back),
            kept=tuple(kept),
            skipped=tuple(each for each in outcomes if isinstance(each, TagNote)),
            failures=(*failed, *failures),
            known=self._states,
            listed_at=around.now,
            referrers_asked=self._ask_referrers,
            not_newest=tuple(tag for tag in choice.dropped if tag not in self._held),
        )

    def _look_here(self) -> None:
        """Read what is here. Runs in a thread."""
        registry, ledger = self._around.registry, self._around.ledger
        self._waiting = registry.waiting_tags(self._repository)
        last: str | None = None
        try:
            while True:
                page = registry.tag_details(self._repository, last)
                self._held.update((Tag(details.name), details) for details in page.items)
                if (last := page.next) is None:
                    break
        except NameUnknown:
            pass
        self._states = {state.tag: state for state in ledger.images(self._repository)}

    async def _choose(self, tags: tuple[Tag, ...]) -> Choice:
        dates: dict[Tag, datetime | None] = {tag: self._listed[tag].updated for tag in tags}
        if needs_dates(self._rule) and not all(dates.values()):
            digests = await together(self._head(tag) for tag in tags)
            named = {tag: digest for tag, digest in zip(tags, digests, strict=True) if digest}
            wanted = {digest: self._media_types.get(digest) for digest in named.values()}
            found = await self._around.dates.of(self._repository, wanted)
            dates = {tag: found[digest] for tag, digest in named.items()}
        return choose(self._rule, tags, dates)

    async def _head(self, tag: Tag) -> Digest | None:
        """What a listed tag names, asked for at most once; None when it is gone."""
        listed = self._listed.get(tag)
        if listed is not None and listed.digest is not None:
            return listed.digest
        async with self._turns[tag]:
            if tag not in self._heads:
                self._heads[tag] = await self._ask_head(tag)
            return self._heads[tag]

    async def _ask_head(self, tag: Tag) -> Digest | None:
        try:
            remote = await self._around.client.head_manifest(self._repository, tag)
        except ParentNotFound:
            return None
        if remote.digest is None:
            return (await self._around.documents.resolve(self._repository, tag)).digest
        if remote.media_type:
            self._media_types[remote.digest] = remote.media_type
        return remote.digest

    async def _outcome(self, tag: Tag) -> Outcome:
        if self._gone is not None:
            return self._failure(tag, self._gone.kind, str(self._gone))
        try:
            return await self._image(tag)
        except NoPlatform:
            wanted = ", ".join(self._rule.platforms)
            return TagNote(
                self._repository, tag, TagReason.PLATFORM, f"it has none of the platforms {wanted}"
            )
        except ParentNotFound as error:
            return self._failure(tag, "moved at the parent", str(error))
        except ParentError as error:
            await self._look_up(error)
            return self._failure(tag, error.kind, str(error))
        except ManifestInvalid as error:
            return self._failure(tag, "invalid", str(error))

    async def _look_up(self, error: ParentError) -> None:
        """Find out whether the parent is away for all, or failed for this one image only."""
        if isinstance(error, ParentThrottled):
            self._gone = error
        if isinstance(error, ParentOffline) and self._gone is None:
            try:
                await self._around.client.ping()
            except ParentError as away:
                self._gone = away

    def _failure(self, tag: Tag, reason: str, detail: str) -> PlanFailure:
        listed = self._listed.get(tag)
        return PlanFailure(
            f"{self._repository}:{tag}",
            reason,
            detail,
            repository=self._repository,
            tag=tag,
            digest=listed.digest if listed is not None else None,
        )

    async def _image(self, tag: Tag) -> Outcome:
        held = self._held.get(tag)
        own = held is not None and held.origin == "local"
        if tag in self._waiting or (own and self._around.mode is Mode.READ_WRITE):
            return self._note(tag, TagReason.LOCAL)
        if held is not None and held.confirmed_at and held.confirmed_at > self._around.now:
            # It went up while the parent was being asked: the listing is older than that.
            return CurrentImage(self._repository, tag, held.digest, self._rule.fingerprint)
        digest = await self._head(tag)
        if digest is None:
            return self._failure(tag, "moved at the parent", "listed, and gone when asked for")
        if held is not None and held.digest == digest and await self._is_settled(tag, digest):
            return CurrentImage(self._repository, tag, digest, self._rule.fingerprint)
        async with self._turns[digest]:
            # Several tags may name one image.
            if digest not in self._gathered:
                media_type = self._media_types.get(digest)
                self._gathered[digest] = await self._gatherer.gather(digest, media_type)
            gathered = self._gathered[digest]
        return await asyncio.to_thread(self._compare_image, tag, digest, held, gathered)

    async def _is_settled(self, tag: Tag, digest: Digest) -> bool:
        """Whether nothing at all need be asked about a tag that is right."""
        state = self._states.get(tag)
        if (
            self._around.resync
            or self._ask_referrers
            or state is None
            or state.state != "synced"
            or state.held != digest
            or state.rule_fingerprint != self._rule.fingerprint
        ):
            return False
        if not self._rule.referrers or not self._fresh_subjects:
            return True
        closure = await asyncio.to_thread(self._around.registry.closure, self._repository, digest)
        return self._fresh_subjects.isdisjoint(closure.manifests)

    def _subjects_of_fresh_companions(self) -> frozenset[str]:
        """Digests whose signature tags the listing shows to be new or changed."""
        fresh = set()
        for tag, listed in self._listed.items():
            if not is_companion_tag(tag):
                continue
            held = self._held.get(tag)
            if held is None or listed.digest not in (None, held.digest):
                subject = subject_of_tag(tag)
                if subject is not None:
                    fresh.add(subject)
        return frozenset(fresh)

    def _compare_image(
        self, tag: Tag, digest: Digest, held: TagDetails | None, gathered: Gathered
    ) -> Outcome:
        """Find out what of an image is not here. Runs in a thread."""
        around = self._around
        unseen = [each for each in gathered.manifests if not self._shown(each)]
        here = around.registry.holds(gathered.blobs)
        missing = sum(
            blob.size - min(around.blobs.partial_size(blob.digest), blob.size)
            for blob in gathered.blobs.values()
            if blob.digest not in here
        )
        companions = tuple(
            each
            for each in gathered.companions.values()
            if each.tag not in self._held or self._held[each.tag].digest != each.digest
        )
        whole = len(here) == len(gathered.blobs)
        right = held is not None and held.digest == digest
        if right and whole and not unseen and not companions:
            return CurrentImage(self._repository, tag, digest, self._rule.fingerprint)
        return PlannedImage(
            repository=self._repository,
            tag=tag,
            digest=digest,
            action=_action(held, digest, unseen, bool(companions)),
            rule_fingerprint=self._rule.fingerprint,
            manifests=tuple(gathered.manifests.values()),
            blobs=tuple(gathered.blobs.values()),
            previous=held.digest if held is not None else None,
            companions=tuple(gathered.companions.values()),
            priority=self._rule.priority,
            new_manifests=tuple(unseen),
            bytes_to_fetch=missing,
        )

    def _shown(self, digest: Digest) -> bool:
        try:
            self._around.registry.resolve(self._repository, digest)
        except (ManifestUnknown, Unavailable):
            return False
        return True

    async def _unwanted(
        self, choice: Choice
    ) -> tuple[list[TagNote], list[TagNote], list[TagNote], list[PlanFailure]]:
        """Removals, what the guard holds back, what is kept out of scope, and failures."""
        found = suspects(
            self._rule,
            self._listed,
            choice.chosen,
            self._held,
            self._states,
            self._around.max_delete_percent,
        )
        removals = [self._note(tag, TagReason.SUPERSEDED) for tag in found.superseded]
        kept = [self._note(tag, TagReason.OUT_OF_SCOPE) for tag in found.out_of_scope]
        held_back = [self._note(tag, TagReason.GUARD) for tag in found.guarded]
        failures: list[PlanFailure] = []
        answers = await together(self._still_there(tag) for tag in found.vanished)
        for tag, answer in zip(found.vanished, answers, strict=True):
            if isinstance(answer, ParentError):
                failures.append(self._failure(tag, answer.kind, str(answer)))
            elif answer:
                held_back.append(self._note(tag, TagReason.UNCONFIRMED))
            else:
                removals.append(self._note(tag, TagReason.GONE))
        return removals, held_back, kept, failures

    async def _still_there(self, tag: Tag) -> bool | ParentError:
        try:
            await self._around.client.head_manifest(self._repository, tag)
        except ParentNotFound:
            return False
        except ParentError as error:
            return error
        return True

    def _note(self, tag: Tag, reason: TagReason) -> TagNote:
        held = self._held.get(tag)
        return TagNote(self._repository, tag, reason, digest=held.digest if held else None)


def _action(held: TagDetails | None, digest: Digest, unseen: list[Digest], new: bool) -> Action:
    """``new``: whether there are companion tags to move."""
    if held is None:
        return Action.NEW
    if held.digest != digest:
        return Action.MOVED
    if digest in unseen or not (unseen or new):
        return Action.REPAIR
    return Action.EXTENDED


def _recent(asked_at: datetime | None, now: datetime) -> bool:
    return asked_at is not None and timedelta() <= now - asked_at < REFERRERS_EVERY


def remember(facts: RepositoryFacts, plan: RepositoryPlan) -> RepositoryFacts:
    """What is to be remembered of a survey that succeeded."""
    return replace(
        facts,
        listed_at=plan.listed_at,
        referrers_asked_at=plan.listed_at if plan.referrers_asked else facts.referrers_asked_at,
        failure=None,
        detail=None,
        not_newest=plan.not_newest,
    )
