"""What the sync remembers between runs besides the images: when it last heard what of the parent.

Kept in the ledger as three small documents. Times that only confirm what is known already are
written at most every ten minutes, to spare flash memory; after a restart they may be that much too
old, never too new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Self

if TYPE_CHECKING:
    from connected_registry.storage.ledger import Ledger

REPOSITORIES: Final = "sync/repositories"
CONNECTION: Final = "sync/connection"
COMPLETENESS: Final = "sync/completeness"

WRITE_EVERY: Final = timedelta(minutes=10)
MAX_NAMES: Final = 500
"""Tags beyond the newest that are remembered by name, for `explain`."""


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What is known of one repository of the parent."""

    listed_at: datetime | None = None
    """When the parent last gave its complete tag list."""
    referrers_asked_at: datetime | None = None
    """When the referrers of all its images were last asked for."""
    failure: str | None = None
    """The reason word of the last failure to list it; None when the last attempt went well."""
    detail: str | None = None
    not_newest: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "listedAt": _text(self.listed_at),
            "referrersAskedAt": _text(self.referrers_asked_at),
            "failure": self.failure,
            "detail": self.detail,
            "notNewest": list(self.not_newest[:MAX_NAMES]),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        return cls(
            _moment(document.get("listedAt")),
            _moment(document.get("referrersAskedAt")),
            document.get("failure"),
            document.get("detail"),
            tuple(document.get("notNewest") or ()),
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether the parent can be reached. ``online`` is None before the first attempt ever."""

    online: bool | None = None
    since: datetime | None = None
    """When the parent became reachable or unreachable."""
    confirmed_at: datetime | None = None
    """When the parent last answered."""
    kind: str | None = None
    """The `ParentError` kind of the last failure; None while all is well."""
    detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The stored and the reported form."""
        return {
            "online": self.online,
            "since": _text(self.since),
            "confirmedAt": _text(self.confirmed_at),
            "kind": self.kind,
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        return cls(
            document.get("online"),
            _moment(document.get("since")),
            _moment(document.get("confirmedAt")),
            document.get("kind"),
            document.get("detail"),
        )


InSync = Literal["true", "false", "unknown"]


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether the site holds all that it should, as of when the parent last confirmed it."""

    in_sync: InSync = "unknown"
    as_of: datetime | None = None
    missing_images: int = 0
    missing_bytes: int = 0
    scope: str = ""
    """Fingerprint of the scope that was compared."""

    def to_json(self) -> dict[str, Any]:
        """The stored form; `inSync`, `inSyncAsOf` and `missing` of the twin are parts of it."""
        return {
            "inSync": self.in_sync,
            "inSyncAsOf": _text(self.as_of),
            "missing": {"images": self.missing_images, "bytes": self.missing_bytes},
            "scope": self.scope,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        missing = document.get("missing") or {}
        return cls(
            document.get("inSync", "unknown"),
            _moment(document.get("inSyncAsOf")),
            missing.get("images", 0),
            missing.get("bytes", 0),
            document.get("scope", ""),
        )


@dataclass(slots=True)
class _Kept:
    """What was last written of one document."""

    document: Any = None
    written_at: datetime | None = None


@dataclass(slots=True)
class Memory:
    """Reads once, answers from then on from memory, writes what changed. Synchronous."""

    ledger: Ledger
    clock: Callable[[], datetime]
    connection: Connection = field(init=False)
    completeness: Completeness = field(init=False)
    repositories: dict[str, RepositoryFacts] = field(init=False)
    _kept: dict[str, _Kept] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.connection = Connection.from_json(self._read(CONNECTION))
        self.completeness = Completeness.from_json(self._read(COMPLETENESS))
        self.repositories = {
            name: RepositoryFacts.from_json(facts)
            for name, facts in self._read(REPOSITORIES).items()
        }

    def repository(self, name: str) -> RepositoryFacts:
        """What is known of a repository; nothing for one never heard of."""
        return self.repositories.get(name, RepositoryFacts())

    def heard(self) -> None:
        """Note that the parent answered."""
        now = self.clock()
        since = self.connection.since if self.connection.online else now
        self.connection = Connection(True, since, now)

    def lost(self, kind: str, detail: str, *, offline: bool) -> None:
        """Note that the parent failed; ``offline`` when it was not there at all."""
        known = self.connection
        if not offline:
            now = self.clock()
            since = known.since if known.online else now
            self.connection = Connection(True, since, now, kind, detail)
            return
        since = known.since if known.online is False else self.clock()
        self.connection = replace(known, online=False, since=since, kind=kind, detail=detail)

    def forget_repositories(self, names: Iterable[str]) -> None:
        """Drop what is known of repositories that left the scope."""
        for name in names:
            self.repositories.pop(name, None)

    def save(self) -> None:
        """Write what changed."""
        self._write(CONNECTION, self.connection.to_json(), {"confirmedAt"})
        self._write(COMPLETENESS, self.completeness.to_json(), {"inSyncAsOf"})
        self._write(
            REPOSITORIES,
            {name: facts.to_json() for name, facts in self.repositories.items()},
            {"listedAt", "referrersAskedAt"},
        )

    def _read(self, key: str) -> dict[str, Any]:
        document = self.ledger.get(key)
        found = document if isinstance(document, dict) else {}
        self._kept[key] = _Kept(found)
        return found

    def _write(self, key: str, document: dict[str, Any], confirming: set[str]) -> None:
        kept = self._kept[key]
        if document == kept.document:
            return
        now = self.clock()
        only_confirms = _without(document, confirming) == _without(kept.document, confirming)
        recently = kept.written_at is not None and (
            timedelta() <= now - kept.written_at < WRITE_EVERY
        )
        if only_confirms and recently:
            return
        self.ledger.put(key, document)
        self._kept[key] = _Kept(document, now)


def _without(document: Any, keys: set[str]) -> Any:
    if not isinstance(document, dict):
        return document
    return {key: _without(value, keys) for key, value in document.items() if key not in keys}


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
