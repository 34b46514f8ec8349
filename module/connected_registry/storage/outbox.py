"""Telemetry that waits for the hub, over restarts and weeks without a link."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from connected_registry.storage.database import Database
from connected_registry.storage.models import OutboxRow, SettingRow

MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 32 * 1024 * 1024
"""Of bodies; both bounds hold."""

_DROPPED: Final = "outbox.dropped"
_VARIABLES: Final = 500


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event; ``id`` stays the same however often it is sent, ``body`` is JSON."""

    id: str
    name: str
    severity: str
    body: str
    created_at: datetime

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body.encode())


class Outbox:
    """A bounded first-in-first-out queue; the oldest events make room, and are counted."""

    def __init__(
        self, database: Database, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._database = database
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        with database.read() as session:
            statement = select(
                func.count(col(OutboxRow.sequence)), func.coalesce(func.sum(OutboxRow.size), 0)
            )
            length, size = session.execute(statement).one()
            dropped = session.get(SettingRow, _DROPPED)
            self._length, self._bytes = int(length), int(size)
            self._dropped = 0 if dropped is None else int(dropped.value)

    def __len__(self) -> int:
        return self._length

    @property
    def dropped(self) -> int:
        """Events given up for want of room since this folder began."""
        return self._dropped

    def append(self, event: StoredEvent) -> None:
        """Keep the event; it is durable on return. An id that is here already is kept once."""
        with self._lock:
            with self._database.write() as session:
                statement = insert(OutboxRow).values(
                    id=event.id,
                    name=event.name,
                    severity=event.severity,
                    body=event.body,
                    size=event.size,
                    created_at=event.created_at,
                )
                added = session.execute(
                    statement.on_conflict_do_nothing().returning(col(OutboxRow.size))
                ).scalar()
                if added is None:
                    return
                length, size = self._length + 1, self._bytes + added
                sequences, freed = self._surplus(session, length, size)
                if sequences:
                    _delete(session, col(OutboxRow.sequence), sequences)
                    dropped = self._dropped + len(sequences)
                    session.merge(SettingRow(key=_DROPPED, value=dropped))
            self._length, self._bytes = length - len(sequences), size - freed
            self._dropped += len(sequences)

    def peek(self, limit: int) -> list[StoredEvent]:
        """The oldest events, in the order in which they were appended."""
        statement = select(OutboxRow).order_by(col(OutboxRow.sequence)).limit(limit)
        with self._database.read() as session:
            return [
                StoredEvent(row.id, row.name, row.severity, row.body, row.created_at)
                for row in session.execute(statement).scalars()
            ]

    def remove(self, ids: Sequence[str]) -> None:
        """Forget these events; ids that are not here are fine."""
        with self._lock:
            with self._database.write() as session:
                sizes = _delete(session, col(OutboxRow.id), ids)
            self._length -= len(sizes)
            self._bytes -= sum(sizes)

    def _surplus(self, session: Session, length: int, size: int) -> tuple[list[int], int]:
        """The oldest events that are too many, and their bytes; never the newest one."""
        sequences: list[int] = []
        freed = 0
        if length <= self._max_events and size <= self._max_bytes:
            return sequences, freed
        statement = select(col(OutboxRow.sequence), col(OutboxRow.size)).order_by(
            col(OutboxRow.sequence)
        )
        for sequence, each in session.execute(statement.limit(length - 1)):
            if length - len(sequences) <= self._max_events and size - freed <= self._max_bytes:
                break
            sequences.append(sequence)
            freed += each
        return sequences, freed


def _delete(session: Session, column: Mapped[Any], values: Sequence[Any]) -> list[int]:
    """Delete the events whose ``column`` is one of ``values``; their sizes."""
    sizes: list[int] = []
    for start in range(0, len(values), _VARIABLES):
        statement = delete(OutboxRow).where(column.in_(values[start : start + _VARIABLES]))
        sizes += session.execute(statement.returning(col(OutboxRow.size))).scalars()
    return sizes
