"""Ask the parent what it has, compare with what is wanted and what is here, and say what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final

from connected_registry.errors import (
    NameInvalid,
    ParentError,
    ParentOffline,
    ParentThrottled,
    ParentUnauthorized,
)
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.dates import Dates
from connected_registry.parent.documents import Documents
from connected_registry.parent.memory import Memory
from connected_registry.parent.paced import PacedClient
from connected_registry.parent.plan import Plan, PlanFailure, RepositoryPlan
from connected_registry.parent.survey import Surroundings, Survey
from connected_registry.parent.together import together
from connected_registry.policy.mode import Mode
from connected_registry.policy.scope import RepositoryRule, Scope

if TYPE_CHECKING:
    from connected_registry.parent.client import ParentClient
    from connected_registry.storage.blobs import BlobStore
    from connected_registry.storage.ledger import Ledger
    from connected_registry.storage.registry import Registry

REPOSITORIES_AT_ONCE: Final = 4


class Planner:
    """Makes plans. Manifests it fetches are kept and serve every later plan and sync."""

    def __init__(
        self,
        client: ParentClient,
        registry: Registry,
        blobs: BlobStore,
        ledger: Ledger,
        memory: Memory,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._client = PacedClient(client)
        self._registry = registry
        self._blobs = blobs
        self._ledger = ledger
        self._memory = memory
        self._clock = clock
        self._documents = Documents(self._client, blobs, ledger)
        self._dates = Dates(self._client, self._documents, blobs, ledger)

    async def plan(
        self,
        scope: Scope,
        mode: Mode,
        *,
        repositories: Collection[str] | None = None,
        resync: bool = False,
        max_delete_percent: int = 50,
    ) -> Plan:
        """Compare the scope, or only ``repositories`` of it.

        ``resync`` trusts nothing recorded: every image is compared again, below its tag too.
        Raises `ParentOffline`, `ParentThrottled` or `ParentUnauthorized` where that is the answer
        for every repository; otherwise failures are part of the plan.
        """
        now = self._clock()
        rules, failures, errors = await self._rules(scope, repositories)
        around = Surroundings(
            client=self._client,
            registry=self._registry,
            blobs=self._blobs,
            ledger=self._ledger,
            documents=self._documents,
            dates=self._dates,
            mode=mode,
            now=now,
            resync=resync,
            max_delete_percent=max_delete_percent,
        )
        surveys = _Surveys(around, self._memory)
        parts = await together(
            (surveys.compare(name, rule) for name, rule in rules.items()),
            limit=REPOSITORIES_AT_ONCE,
        )
        errors += surveys.errors
        if errors and len(errors) == len(parts) + len(failures) and _is_of_all(errors):
            raise errors[0]
        return await asyncio.to_thread(
            self._plan, now, tuple(parts), tuple(failures), scope, repositories is None
        )

    async def _rules(
        self, scope: Scope, repositories: Collection[str] | None
    ) -> tuple[dict[RepositoryName, RepositoryRule], list[PlanFailure], list[ParentError]]:
        """The repositories to compare, each with its rule; patterns by the parent's catalogue."""
        rules: dict[RepositoryName, RepositoryRule] = {}
        failures: list[PlanFailure] = []
        errors: list[ParentError] = []
        names: list[str]
        if repositories is not None:
            names = list(dict.fromkeys(repositories))
        else:
            names = list(scope.names)
            if scope.patterns:
                try:
                    names += await self._client.list_repositories()
                except ParentError as error:
                    errors.append(error)
                    failures += [_no_catalogue(rule, error) for rule in scope.patterns]
        for text in names:
            rule = scope.rule_for(text)
            try:
                name = RepositoryName.parse(text)
            except NameInvalid:
                failures.append(PlanFailure(text[:255], "invalid", "it is no repository name"))
                continue
            if rule is not None:
                rules[name] = rule
            elif repositories is not None:
                failures.append(PlanFailure(name, "out of scope", "no rule of the scope names it"))
        return rules, failures, errors

    def _plan(
        self,
        now: datetime,
        parts: tuple[RepositoryPlan, ...],
        failures: tuple[PlanFailure, ...],
        scope: Scope,
        whole_scope: bool,
    ) -> Plan:
        """Add what is on disk already. Runs in a thread."""
        wanted = {blob.digest for part in parts for image in part.images for blob in image.blobs}
        held = frozenset(self._registry.holds(wanted))
        partials = {
            digest: size
            for digest in wanted - held
            if (size := self._blobs.partial_size(digest)) > 0
        }
        return Plan(
            made_at=now,
            repositories=parts,
            failures=failures,
            out_of_scope=self._out_of_scope(scope) if whole_scope else (),
            partials=partials,
            held=held,
            whole_scope=whole_scope,
        )

    def _out_of_scope(self, scope: Scope) -> tuple[RepositoryName, ...]:
        """Repositories that hold tags from the parent and that no rule names any more."""
        page = self._registry.list_repositories(visible=lambda name: scope.rule_for(name) is None)
        return tuple(RepositoryName(name) for name in page.items)


def _is_of_all(errors: list[ParentError]) -> bool:
    """Whether the parent as a whole failed, rather than each repository for itself."""
    kinds = {type(error) for error in errors}
    return len(kinds) == 1 and kinds <= {ParentOffline, ParentThrottled, ParentUnauthorized}


def _no_catalogue(rule: RepositoryRule, error: ParentError) -> PlanFailure:
    return PlanFailure(
        rule.name,
        error.kind,
        f"the parent did not give its catalogue, which this pattern needs: {error}; "
        "name the repositories one by one, or allow the sync token to list the catalogue",
    )


class _Surveys:
    """Surveys of one plan; once the parent is away, the rest is not asked any more."""

    def __init__(self, around: Surroundings, memory: Memory) -> None:
        self._around = around
        self._memory = memory
        self._gone: ParentError | None = None
        self.errors: list[ParentError] = []

    async def compare(self, name: RepositoryName, rule: RepositoryRule) -> RepositoryPlan:
        """One repository's part; where the parent does not answer for it, only the failure."""
        if self._gone is not None:
            return self._failed(name, self._gone)
        survey = Survey(self._around, name, rule, self._memory.repository(name))
        try:
            return await survey.compare()
        except (ParentOffline, ParentThrottled) as error:
            self._gone = error
            return self._failed(name, error)
        except ParentError as error:
            return self._failed(name, error)

    def _failed(self, name: RepositoryName, error: ParentError) -> RepositoryPlan:
        self.errors.append(error)
        failure = PlanFailure(name, error.kind, str(error), repository=name)
        return RepositoryPlan(name, failures=(failure,))
