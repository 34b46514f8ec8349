"""Taking in desired documents, from the hub or a file alike: whole, in order, last good kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from connected_registry.edge.acknowledgement import FAILED, Outcome, acknowledge, refuse
from connected_registry.edge.patch import Document, same
from connected_registry.edge.twin import Desired, strip
from connected_registry.errors import ReplicaError, TwinInvalid

Apply = Callable[[Desired], Awaitable[Mapping[str, Outcome]]]
"""Puts a checked configuration into force; names the properties that are still under way (202)
or could not be applied (500). May raise `TwinInvalid` (409) before it has changed anything."""

_log = structlog.stdlib.get_logger(__name__)


class Configuration:
    """What is in force, and the only way to change it.

    ``keep`` makes an accepted document outlive a restart; ``tell`` gets the acknowledgements.
    """

    def __init__(
        self,
        apply: Apply,
        *,
        tell: Callable[[Document], None],
        keep: Callable[[Document, int | None], Awaitable[None]],
        waiting_pushes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._apply = apply
        self._tell = tell
        self._keep = keep
        self._waiting_pushes = waiting_pushes
        self._lock = asyncio.Lock()
        self._document: Document = {}
        self._desired = Desired()
        self._version: int | None = None

    @property
    def desired(self) -> Desired:
        """What is in force."""
        return self._desired

    @property
    def document(self) -> Document:
        """The document it was read from."""
        return self._document

    @property
    def version(self) -> int | None:
        """The newest version seen, whether it was accepted or not."""
        return self._version

    async def restore(self, document: Mapping[str, Any], version: int | None) -> None:
        """Put the last good document, as it was kept, into force again at start.

        One that this release refuses, after a downgrade say, is told and leaves the defaults.
        """
        async with self._lock:
            try:
                desired, warnings = Desired.parse(document)
            except TwinInvalid as error:
                _log.error("twin.kept_refused", reason=str(error))
                desired, warnings, document = Desired(), (str(error),), {}
            outcomes = await self._apply(desired)
            self._desired, self._document, self._version = desired, strip(document), version
            self._tell(
                acknowledge(document, desired, version, warnings=warnings, outcomes=outcomes)
            )

    async def receive(self, document: Any, version: int | None) -> bool:
        """Take in a whole desired document; whether it is in force now. Never raises for input.

        What is refused changes nothing, and is acknowledged with the key and the reason.
        """
        async with self._lock:
            try:
                self._check_order(version)
                desired, warnings = Desired.parse(document)
                self._desired.check_change(desired, self._waiting_pushes)
                if same(strip(document), self._document) and version == self._version:
                    return True
                outcomes = await self._put_into_force(desired)
            except TwinInvalid as error:
                self._refuse(error, version)
                return False
            if outcomes is None:
                return False
            self._document = strip(document)
            self._advance(version)
            await self._keep(self._document, version)
            for sentence in warnings:
                _log.warning("twin.ignored", reason=sentence, version=version)
            _log.info("twin.applied", version=version)
            self._tell(
                acknowledge(document, desired, version, warnings=warnings, outcomes=outcomes)
            )
            return True

    async def refuse(self, error: TwinInvalid, version: int | None) -> None:
        """Answer a document that could not even be read."""
        async with self._lock:
            self._refuse(error, version)

    def progress(self, outcomes: Mapping[str, Outcome]) -> None:
        """Tell how properties that were under way (202) have ended."""
        document = acknowledge(self._document, self._desired, self._version, outcomes=outcomes)
        self._tell(document)

    async def _put_into_force(self, desired: Desired) -> Mapping[str, Outcome] | None:
        try:
            outcomes = await self._apply(desired)
        except TwinInvalid:
            raise
        except Exception as error:
            _log.exception("twin.apply_failed")
            text = str(error) if isinstance(error, ReplicaError) else type(error).__name__
            changed = {
                info.alias or name: Outcome(FAILED, f"not applied: {text}")
                for name, info in Desired.model_fields.items()
                if getattr(desired, name) != getattr(self._desired, name)
            }
            self._tell(acknowledge(self._document, self._desired, self._version, outcomes=changed))
            return None
        self._desired = desired
        return outcomes

    def _check_order(self, version: int | None) -> None:
        if version is not None and self._version is not None and version < self._version:
            raise TwinInvalid(
                "$version", version, f"an older document than {self._version} changes nothing"
            )

    def _refuse(self, error: TwinInvalid, version: int | None) -> None:
        _log.warning("twin.refused", path=error.key, reason=str(error), version=version)
        self._tell(refuse(error, self._desired, version))
        self._advance(version)

    def _advance(self, version: int | None) -> None:
        if version is not None:
            self._version = max(version, self._version or 0)
