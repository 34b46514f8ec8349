"""The reported properties: what the site says of itself, in the contract's names and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic import Field, JsonValue

from connected_registry.edge.patch import Document, twin_size
from connected_registry.policy.model import ContractModel, Items, Moment

MAX_REPORTED: Final = 24 * 1024
"""Below IoT Hub's 32 KB, to leave room for the hub's own metadata and for a patch in flight."""


class Acknowledgement(ContractModel):
    """Plug and Play's answer to one desired property."""

    value: JsonValue = Field(None, description="what is in force, cut where it is long")
    ac: int = Field(
        description="200 applied, 202 under way, 203 own default, 400 refused, 409 conflict,"
        " 500 failed"
    )
    av: int = Field(0, description="the desired `$version` this answers; 0 for a default")
    ad: str = Field("", description="in words")


class DesiredStatus(ContractModel):
    """The verdict on the desired document as a whole."""

    code: int = Field(description="as in an acknowledgement")
    description: str = Field(description="in words; names the key that is wrong")


class ConnectionState(StrEnum):
    """The original's words."""

    ONLINE = "Online"
    OFFLINE = "Offline"
    SYNCING = "Syncing"
    UNHEALTHY = "Unhealthy"


class InSync(StrEnum):
    """Whether the site holds everything its scope names."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class SyncTrigger(StrEnum):
    """Why a sync ran; the original's words and `ScopeUpdate`."""

    INITIAL_SYNC = "InitialSync"
    SCHEDULE = "Schedule"
    MANUAL_RESYNC = "ManualResync"
    SYNC_TOKEN_UPDATE = "SyncTokenUpdate"  # noqa: S105 - the name of an event
    SCOPE_UPDATE = "ScopeUpdate"
    RECOVERY_SERVICE = "RecoveryService"


class SyncState(StrEnum):
    """How the last sync stands; the original's words."""

    NOT_ACTIVATED = "NotActivated"
    PENDING = "Pending"
    SYNCING = "Syncing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"


class StatusDetail(ContractModel):
    """One thing that is wrong."""

    type: str = Field(description="the component, such as `Parent`, `Disk` or `Twin`")
    code: str = Field(description="a stable word for the kind of fault")
    description: str = Field(description="one sentence")
    timestamp: Moment = Field(description="since when")
    correlation_id: str | None = Field(None, description="the task or request it came from")


class Missing(ContractModel):
    """What the scope names and the site does not hold."""

    images: int = 0
    bytes: int = 0


class Progress(ContractModel):
    """How far the running sync is."""

    phase: str = Field(description="what it does: planning, fetching, committing")
    images_done: int = 0
    images_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: int = 0
    eta_seconds: int | None = None
    current: str | None = Field(None, description="the image at hand")


class SyncStatus(ContractModel):
    """The last sync and the next."""

    trigger: SyncTrigger | None = None
    state: SyncState = SyncState.NOT_ACTIVATED
    last_sync_start_time: Moment | None = None
    last_sync_end_time: Moment | None = None
    last_successful_sync_end_time: Moment | None = None
    next_sync_time: Moment | None = None
    progress: Progress | None = None
    last_error: str | None = None


class ParentStatus(ContractModel):
    """The parent as the replica finds it."""

    login_server: str | None = Field(None, description="the parent in force; none: no parent")
    offline_since: Moment | None = Field(None, description="when it stopped answering")


class Cache(ContractModel):
    """What the data folder holds."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    quota_bytes: int | None = None
    free_bytes: int | None = None
    oldest_verification: Moment | None = None


class RepositoryStatus(ContractModel):
    """One repository held here."""

    name: str
    tags: int = 0
    bytes: int = 0
    in_sync: InSync = InSync.UNKNOWN
    state_digest: str | None = Field(None, description="equal on two sites that hold the same")


class Certificate(ContractModel):
    """The endpoint's certificate."""

    type: str = Field(description="where it comes from: `LocalDirectory`, `WorkloadApi`")
    expires: Moment


class Tls(ContractModel):
    """Whether the endpoint speaks TLS."""

    status: str = Field(description="`Enabled` or `Disabled`")
    certificate: Certificate | None = None


class LoginServer(ContractModel):
    """Where clients reach the replica."""

    host: str
    tls: Tls = Tls(status="Disabled")


class Uploads(ContractModel):
    """Pushes on their way to the parent."""

    waiting: int = 0
    failed: int = 0
    oldest: Moment | None = None


class Facts(ContractModel):
    """What the replica knows of itself at one moment; `document` puts it in the twin's form."""

    connection_state: ConnectionState
    status_details: Items[StatusDetail] = ()
    in_sync: InSync = InSync.UNKNOWN
    in_sync_as_of: Moment | None = Field(None, description="when the parent last confirmed it")
    missing: Missing | None = None
    sync: SyncStatus = SyncStatus()
    parent: ParentStatus = ParentStatus()
    cache: Cache = Cache()
    repositories: tuple[RepositoryStatus, ...] = ()
    login_server: LoginServer | None = None
    uploads: Uploads = Uploads()
    version: str = Field(description="of this software")
    last_activity_time: Moment | None = Field(None, description="the last pull, push or sync")

    def document(self, acknowledgements: Mapping[str, Any]) -> Document:
        """The reported properties, uncut.

        ``sync`` and ``parent`` are desired properties and facts at once: their acknowledgement
        and their facts share one object.
        """
        facts: Document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        reported: Document = {**facts, **acknowledgements}
        for name in ("sync", "parent"):
            reported[name] = {**facts[name], **acknowledgements.get(name, {})}
        return reported


def bound(reported: Mapping[str, Any], limit: int = MAX_REPORTED) -> Document:
    """``reported`` cut to ``limit`` bytes as IoT Hub counts them.

    The list of repositories goes first, those not in sync kept longest, and
    ``repositoriesOmitted`` says how many went; then the values of acknowledgements, longest
    first; then the older status details.
    """
    cut: Document = dict(reported)
    size = twin_size(cut)
    if size <= limit:
        return cut
    repositories = list(cut.get("repositories", ()))
    kept = sorted(
        range(len(repositories)),
        key=lambda index: repositories[index].get("inSync") == InSync.TRUE,
    )
    # Room for the number that says how many were left out.
    size += twin_size("repositoriesOmitted") + 8
    while kept and size > limit:
        size -= twin_size(repositories[kept.pop()])
    if len(kept) < len(repositories):
        cut["repositories"] = [repositories[index] for index in sorted(kept)]
        cut["repositoriesOmitted"] = len(repositories) - len(kept)
    acknowledged = sorted(
        (key for key, each in cut.items() if isinstance(each, Mapping) and "value" in each),
        key=lambda key: twin_size(cut[key]["value"]),
        reverse=True,
    )
    for key in acknowledged:
        if size <= limit:
            return cut
        size -= twin_size(cut[key]["value"])
        cut[key] = {name: each for name, each in cut[key].items() if name != "value"}
    details = list(cut.get("statusDetails", ()))
    while details and size > limit:
        size -= twin_size(details.pop(0))
        cut["statusDetails"] = details
    return cut
