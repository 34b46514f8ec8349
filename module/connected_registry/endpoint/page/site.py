"""The status page's own parts, and who may see and do what on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connected_registry.endpoint.access import Access, Principal
from connected_registry.endpoint.page.facts import SiteFacts
from connected_registry.endpoint.page.render import Renderer
from connected_registry.endpoint.page.session import Sessions
from connected_registry.policy.access import Action

Invoke = Callable[[str, Any], Awaitable[tuple[int, Mapping[str, Any]]]]

FRESH: Final = 1.0
"""Seconds for which one look at the site serves every reader."""
SHARE: Final = 4.0
"""A look that takes long is kept this many times as long, so that readers cost little."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that can be done from the page."""

    name: str
    method: str
    label: str
    question: str
    meaning: str
    done: str


DEEDS: Final = {
    deed.name: deed
    for deed in (
        Deed(
            "sync",
            "syncNow",
            "Sync now",
            "Sync now?",
            "The parent is asked what is new and what is missing is fetched, whatever the "
            "schedule says.",
            "The sync has started.",
        ),
        Deed(
            "cancel",
            "cancelSync",
            "Stop this sync",
            "Stop the sync that runs?",
            "What has arrived is kept; the next sync goes on from there.",
            "The sync has been told to stop.",
        ),
        Deed(
            "pause",
            "pauseSync",
            "Pause",
            "Pause syncing?",
            "The sync that runs is stopped, and none starts until someone resumes. "
            "Pulls go on as before.",
            "Syncing is paused.",
        ),
        Deed(
            "resume",
            "resumeSync",
            "Resume",
            "Resume syncing?",
            "Syncs start again by the schedule; what is due starts at once.",
            "Syncing has been resumed.",
        ),
        Deed(
            "verify",
            "verifyStore",
            "Verify",
            "Verify everything stored?",
            "Every file is read and compared with its digest; what is damaged is fetched again. "
            "This takes a while and keeps the disk busy.",
            "The verification has started.",
        ),
        Deed(
            "collect",
            "collectGarbage",
            "Collect",
            "Remove what nothing names any more?",
            "Bytes that no image here uses are deleted to make room. No image is removed.",
            "The collection has started.",
        ),
    )
}
"""By the name in the address."""


class StatusPage:
    """Gives handlers the facts, the templates and the sessions.

    ``gather`` looks at the site; ``invoke`` calls a direct method. ``key`` signs sessions.
    """

    def __init__(
        self,
        gather: Callable[[], Awaitable[SiteFacts]],
        invoke: Invoke,
        *,
        key: bytes,
        audience: str,
        clock: Callable[[], datetime],
        fresh_for: float = FRESH,
    ) -> None:
        self._gather = gather
        self.invoke = invoke
        self.renderer = Renderer()
        self.sessions = Sessions(key, audience, clock)
        self._fresh_for = fresh_for
        self._looking = asyncio.Lock()
        self._facts: SiteFacts | None = None
        self._until = 0.0

    async def facts(self, *, fresh: bool = False) -> SiteFacts:
        """A look at the site, not older than a moment; ``fresh``: begun after this call."""
        if fresh:
            self._until = 0.0
        async with self._looking:
            if self._facts is None or time.monotonic() >= self._until:
                began = time.monotonic()
                self._facts = await self._gather()
                took = time.monotonic() - began
                self._until = time.monotonic() + max(self._fresh_for, SHARE * took)
            return self._facts


def may_look(principal: Principal, access: Access) -> bool:
    """Whether the page is shown: to every token that may read the metadata of anything."""
    if access.is_open:
        return True
    grants = principal.grants
    granted = principal.permissions.repositories if grants is None else grants.repositories
    return not principal.is_anonymous and any(
        action is Action.METADATA_READ for _, action in granted
    )


def sees_everything(principal: Principal) -> bool:
    """Whether nothing is kept from it."""
    return principal.may(Action.METADATA_READ, "*")


def may_act(principal: Principal, access: Access) -> bool:
    """Whether it may use the buttons: who may write everywhere."""
    return (access.is_open or not principal.is_anonymous) and (
        principal.may(Action.METADATA_WRITE, "*") or principal.may(Action.CONTENT_WRITE, "*")
    )


def deeds_now(facts: SiteFacts) -> tuple[Deed, ...]:
    """What there is to do at the moment."""
    sync = facts.sync
    fitting = {
        "sync": not sync.running and not sync.paused,
        "cancel": sync.running,
        "pause": not sync.paused,
        "resume": sync.paused,
    }
    if facts.parent is None:
        fitting = dict.fromkeys(fitting, False)
    return tuple(
        deed
        for deed in DEEDS.values()
        if deed.method in facts.actions and fitting.get(deed.name, True)
    )
