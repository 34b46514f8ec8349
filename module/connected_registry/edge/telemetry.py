"""The events that a site sends: one model a kind, named as the hub's routes see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from connected_registry.edge.outbox import Severity, new_event
from connected_registry.edge.reported import ConnectionState, SyncTrigger
from connected_registry.policy.model import ContractModel, Items, Moment
from connected_registry.storage.outbox import StoredEvent

Count = Annotated[int, Field(ge=0)]


class Event(ContractModel):
    """Something that happened. ``name`` and ``severity`` also become custom properties."""

    name: ClassVar[str]
    severity: ClassVar[Severity] = Severity.INFORMATION

    def stored(self, at: datetime) -> StoredEvent:
        """The event with a new id under which receivers know a repetition."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return new_event(self.name, body, at=at, severity=self.severity)


class SyncStarted(Event):
    """A sync began."""

    name: ClassVar[str] = "syncStarted"

    correlation_id: str
    trigger: SyncTrigger


class SyncCompleted(Event):
    """A sync brought everything that it was to bring."""

    name: ClassVar[str] = "syncCompleted"

    correlation_id: str
    trigger: SyncTrigger
    images_fetched: Count
    images_removed: Count
    bytes_fetched: Count
    seconds: Count


class SyncFailed(Event):
    """A sync ended early; what had arrived is kept."""

    name: ClassVar[str] = "syncFailed"
    severity: ClassVar[Severity] = Severity.WARNING

    correlation_id: str
    trigger: SyncTrigger
    code: str = Field(description="a stable word, such as `offline` or `unauthorized`")
    description: str
    images_failed: Count = 0


class ImageAvailable(Event):
    """An image is whole and can be pulled."""

    name: ClassVar[str] = "imageAvailable"

    repository: str
    tag: str
    digest: str
    bytes: Count
    correlation_id: str | None = None


class ImageRemoved(Event):
    """A tag was taken away."""

    name: ClassVar[str] = "imageRemoved"

    repository: str
    tag: str
    digest: str
    reason: str


class Target(ContractModel):
    """The artifact of a notification, in the original's form."""

    media_type: str
    size: Count
    digest: str
    repository: str
    tag: str | None = None
    length: Count


class ConnectedRegistry(ContractModel):
    """Where it happened."""

    name: str


class ArtifactPushed(Event):
    """A client pushed a manifest, as Microsoft's connected registry tells it."""

    name: ClassVar[str] = "artifactPushed"

    id: str
    timestamp: Moment
    action: Literal["push"] = "push"
    target: Target
    connected_registry: ConnectedRegistry = Field(alias="connectedregistry")


class ArtifactDeleted(Event):
    """A client deleted a manifest or a tag, as Microsoft's connected registry tells it."""

    name: ClassVar[str] = "artifactDeleted"

    id: str
    timestamp: Moment
    action: Literal["delete"] = "delete"
    target: Target
    connected_registry: ConnectedRegistry = Field(alias="connectedregistry")


class RepositoryUsage(ContractModel):
    """What one repository was used for."""

    name: str
    pulls: Count
    bytes: Count
    images: Count = Field(description="distinct images pulled")


class Usage(Event):
    """What was used since the last summary."""

    name: ClassVar[str] = "usage"

    since: Moment
    until: Moment
    repositories: Items[RepositoryUsage] = ()
    bytes_from_parent: Count = 0


class StateChanged(Event):
    """The connection state changed."""

    name: ClassVar[str] = "stateChanged"

    before: ConnectionState
    after: ConnectionState
    description: str = ""


class StoragePressure(Event):
    """The disk or the quota is nearly full."""

    name: ClassVar[str] = "storagePressure"
    severity: ClassVar[Severity] = Severity.WARNING

    step: str = Field(description="what is done about it")
    free_bytes: Count
    used_bytes: Count
    quota_bytes: Count | None = None


class IntegrityFailure(Event):
    """Stored bytes are not what their digest says."""

    name: ClassVar[str] = "integrityFailure"
    severity: ClassVar[Severity] = Severity.ERROR

    digest: str
    repaired: bool
    description: str


class PushConflict(Event):
    """A tag was changed on site and at the parent."""

    name: ClassVar[str] = "pushConflict"
    severity: ClassVar[Severity] = Severity.WARNING

    repository: str
    tag: str
    here: str = Field(description="the digest on site")
    parent: str = Field(description="the digest at the parent")
    kept: str = Field(description="whose digest the tag keeps: `parent`, `site` or `both`")
    conflict_tag: str | None = Field(None, description="the tag that the other one has now")


class AccessDenied(Event):
    """Requests refused for who asked: counted, not one a request."""

    name: ClassVar[str] = "accessDenied"
    severity: ClassVar[Severity] = Severity.WARNING

    since: Moment
    until: Moment
    count: Count
    principal: str | None = None
    source: str | None = None
    reason: str


EVENTS: dict[str, type[Event]] = {
    event.name: event
    for event in (
        SyncStarted,
        SyncCompleted,
        SyncFailed,
        ImageAvailable,
        ImageRemoved,
        ArtifactPushed,
        ArtifactDeleted,
        Usage,
        StateChanged,
        StoragePressure,
        IntegrityFailure,
        PushConflict,
        AccessDenied,
    )
}
"""Every kind by name, in the contract's order."""
