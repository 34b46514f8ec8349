"""The link to the parent registry: client, synchronizer and their life together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from connected_registry import __version__
from connected_registry.app.store import Store
from connected_registry.edge.twin import Desired
from connected_registry.parent.admission import Room
from connected_registry.parent.client import Credentials, ParentAddress, ParentClient
from connected_registry.parent.explain import Circumstances
from connected_registry.parent.scheduler import Scheduler
from connected_registry.parent.sync import Orders, Synchronizer
from connected_registry.parent.uplink import Uplink
from connected_registry.settings import ParentSettings, Settings

USER_AGENT = f"connected-registry/{__version__}"

WORTH_TELLING: Final = 3.0
"""Seconds after which a sync that still plans is told as running."""


@dataclass(frozen=True, slots=True)
class ParentChoice:
    """Which parent, and who we are to it."""

    address: ParentAddress
    credentials: Credentials | None

    @classmethod
    def of(cls, settings: Settings, desired: Desired) -> Self | None:
        """The environment's parent with the twin's ``parent`` laid over it; None: no parent."""
        known = settings.parent
        host, protocol = desired.parent.login_server, desired.parent.protocol
        if host is None:
            if known is None:
                return None
            host, protocol = known.host, known.protocol
        known = known or ParentSettings(host)
        address = ParentAddress(
            host,
            protocol,
            realm_hosts=known.realm_hosts,
            ca_file=known.ca_file,
            proxy=known.proxy.get_secret_value() if known.proxy is not None else None,
        )
        if known.username is None or known.password is None:
            return cls(address, None)
        return cls(address, Credentials(known.username, known.password))


class Link:
    """One parent, as long as the configuration names it."""

    def __init__(
        self,
        choice: ParentChoice,
        store: Store,
        *,
        orders: Callable[[], Orders],
        clock: Callable[[], datetime],
        announce: Callable[[str, dict[str, Any]], None],
        site: str,
        room: Room,
    ) -> None:
        """``site``: the name of this replica in tags that a conflict leaves behind."""
        self.choice = choice
        self._closed = asyncio.Event()
        self._orders = orders
        self._clock = clock
        self._client = ParentClient(choice.address, choice.credentials, user_agent=USER_AGENT)
        self.synchronizer = Synchronizer(
            self._client,
            store.registry,
            store.blobs,
            store.ledger,
            orders=orders,
            clock=clock,
            announce=announce,
            room=room,
        )
        self.scheduler = Scheduler(self.synchronizer, store.ledger, orders=orders, clock=clock)
        self.uplink = Uplink(
            self._client,
            store.registry,
            store.outgoing,
            store.ledger,
            orders=orders,
            paused=lambda: self.scheduler.paused,
            meter=self.synchronizer.meter,
            site=site,
            clock=clock,
            announce=announce,
        )

    @property
    def client(self) -> ParentClient:
        """For what is fetched beside the sync."""
        return self._client

    @property
    def bytes_received(self) -> int:
        """What came over the link since this parent was chosen."""
        return self._client.bytes_received

    @property
    def at_work(self) -> bool:
        """Whether a sync runs that is worth telling.

        One that only asks and finds nothing new, as happens each minute with a continuous
        schedule, would cost a message to the hub when it begins and another when it ends.
        """
        if self.synchronizer.running is None:
            return False
        progress = self.synchronizer.progress()
        return progress.images_total > 0 or self.synchronizer.running_for > WORTH_TELLING

    def circumstances(self) -> Circumstances:
        """What holds syncing back at the moment."""
        now, policy = self._clock(), self._orders().policy
        schedule = policy.timetable
        closed = schedule.window is not None and schedule.closes_at(now) is None
        last = self.synchronizer.last
        return Circumstances(
            paused=self.scheduler.paused,
            syncing=self.synchronizer.running is not None,
            window_opens=schedule.next_start(now) if closed else None,
            stopped=last.stopped if last is not None else None,
        )

    async def until_closed(self, job: Coroutine[Any, Any, None]) -> None:
        """Do something that has no end of its own, until `close`."""
        working = asyncio.ensure_future(job)
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({working, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
        if not working.cancelled():
            working.result()

    async def close(self) -> None:
        """Stop a running sync, its partial downloads kept, and hang up."""
        self._closed.set()
        await self.synchronizer.close()
        await self._client.__aexit__()
