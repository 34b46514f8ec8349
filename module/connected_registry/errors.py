"""Every error this product raises, and how each one is told to a client.

::

    ReplicaError
    ├── ConfigurationError          a setting, twin value or connection string is wrong
    │   └── TwinInvalid             a desired property is wrong, or clashes with what is going on
    ├── Conflict                    what is asked for does not go with what is going on
    ├── FolderInUse                 another process holds the data folder
    ├── StorageError                the data folder cannot be used as it is
    │   ├── SchemaTooNew            written by a newer release
    │   ├── DiskFull                no space or no inodes left
    │   └── NoRoom                  the quota or the reserve leave no room for an image
    ├── BundleInvalid               a bundle is damaged, cut, signed otherwise, or none
    ├── RegistryError               told to a client in the OCI error envelope, one class a code
    │   ├── NameInvalid  NameUnknown  TagInvalid
    │   ├── DigestInvalid  SizeInvalid  RangeInvalid
    │   ├── BlobUnknown  BlobUploadUnknown  BlobUploadInvalid
    │   ├── ManifestUnknown  ManifestInvalid  ManifestBlobUnknown  ManifestTooLarge
    │   ├── PaginationNumberInvalid
    │   ├── AddressUnknown  AddressTooLong  RequestInvalid  HostRefused  RequestTimeout
    │   ├── Unauthorized  (TokenInvalid  ScopeInsufficient)
    │   ├── Denied  OperationNotAllowed  Unsupported
    │   └── TooManyRequests  Unavailable (BlobDamaged)  InsufficientStorage
    ├── ParentError                 the parent registry did not do as asked
    │   ├── ParentOffline           refused, timed out, no name, no route
    │   ├── ParentUnauthorized      credentials missing, wrong, expired or too weak
    │   ├── ParentNotFound          answered 404: evidence of nothing but itself
    │   ├── ParentThrottled         429 or 503 with Retry-After
    │   ├── ParentFailed            an answer that breaks the protocol or our limits
    │   │   ├── ParentReadOnly      the parent takes no pushes
    │   │   └── ParentUnavailable   408 or 5xx: may pass by itself
    │   └── ParentLied              bytes, sizes or digests that do not match what was promised
    ├── EdgeError                   the IoT hub, edgeHub or the workload API did not do as asked
    │   ├── HubLost                 the session with the hub is over; the next one follows
    │   ├── HubRefused              the hub answered a request with an error status
    │   └── WorkloadFailed          the workload API is not there, or answered with an error
    ├── SyncStopped                 window closed, paused, cancelled or out of budget
    └── SyncRefused                 a sync was asked for that may not start now
"""

from __future__ import annotations

from typing import Any, ClassVar


class ReplicaError(Exception):
    """Base of everything this product raises on purpose; ``str()`` is one clear sentence."""


class ConfigurationError(ReplicaError):
    """A setting is wrong. Names the key, the value as given, and what would be right."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(f"{key}: {value!r} is not valid: {remedy}")
        self.key = key
        self.value = value
        self.remedy = remedy


class TwinInvalid(ConfigurationError):
    """A desired property is refused: ``status`` 400, or 409 where only the moment is wrong.

    ``key`` is the whole path, such as ``scope.repositories[1].semver``; nothing was applied.
    """

    def __init__(self, key: str, value: object, remedy: str, *, status: int = 400) -> None:
        super().__init__(key, value, remedy)
        self.status = status


class Conflict(ReplicaError):
    """What is asked for does not go with what is going on; names the task in the way, if any."""

    def __init__(self, message: str, *, correlation_id: str | None = None) -> None:
        super().__init__(message)
        self.correlation_id = correlation_id


class FolderInUse(ReplicaError):
    """Another process holds the data folder's lock."""


class StorageError(ReplicaError):
    """The data folder cannot be used as it is."""


class SchemaTooNew(StorageError):
    """The database was written by a newer release than this one."""


class DiskFull(StorageError):
    """A write failed for lack of space or inodes; what was stored before is untouched."""


class BundleInvalid(ReplicaError):
    """A bundle, or a document beside it, cannot be used; names the file and the remedy."""


class NoRoom(StorageError):
    """An image does not fit into the quota or the disk; it was not begun."""


class RegistryError(ReplicaError):
    """An answer to a registry client: OCI ``code``, HTTP ``status`` and a message.

    Codes and statuses follow the OCI distribution specification, "Error Codes", and where it is
    silent, CNCF Distribution, which clients are tuned to.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    message: ClassVar[str] = "unknown error"

    def __init__(
        self,
        message: str | None = None,
        detail: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.text = message or self.message
        self.detail = detail
        self.headers = headers or {}
        super().__init__(self.text)

    def envelope(self) -> dict[str, Any]:
        """The body a client gets: ``{"errors": [{"code", "message", "detail"}]}``."""
        error: dict[str, Any] = {"code": self.code, "message": self.text}
        if self.detail is not None:
            error["detail"] = self.detail
        return {"errors": [error]}


class NameInvalid(RegistryError):
    """A repository name outside the specification's grammar."""

    code, status, message = "NAME_INVALID", 400, "invalid repository name"


class NameUnknown(RegistryError):
    """No such repository, or not one the caller may see."""

    code, status, message = "NAME_UNKNOWN", 404, "repository name not known to registry"


class TagInvalid(RegistryError):
    """A tag outside the specification's grammar."""

    code, status, message = "TAG_INVALID", 400, "invalid tag"


class DigestInvalid(RegistryError):
    """A digest that is malformed, of an unsupported algorithm, or not that of the content."""

    code, status, message = "DIGEST_INVALID", 400, "provided digest did not match uploaded content"


class SizeInvalid(RegistryError):
    """A length that does not match the content."""

    code, status, message = "SIZE_INVALID", 400, "provided length did not match content length"


class RangeInvalid(RegistryError):
    """A chunk out of order, or a range that cannot be satisfied."""

    code, status, message = "RANGE_INVALID", 416, "invalid content range"


class BlobUnknown(RegistryError):
    """No such blob in this repository."""

    code, status, message = "BLOB_UNKNOWN", 404, "blob unknown to registry"


class BlobUploadUnknown(RegistryError):
    """No such upload session, or not the caller's."""

    code, status, message = "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"


class BlobUploadInvalid(RegistryError):
    """An upload request that makes no sense."""

    code, status, message = "BLOB_UPLOAD_INVALID", 400, "blob upload invalid"


class ManifestUnknown(RegistryError):
    """No such manifest or tag in this repository."""

    code, status, message = "MANIFEST_UNKNOWN", 404, "manifest unknown"


class ManifestInvalid(RegistryError):
    """A manifest that is malformed or contradicts itself."""

    code, status, message = "MANIFEST_INVALID", 400, "manifest invalid"


class ManifestBlobUnknown(RegistryError):
    """A manifest that names content the repository does not hold."""

    code, status, message = "MANIFEST_BLOB_UNKNOWN", 400, "manifest references content unknown"


class ManifestTooLarge(RegistryError):
    """A manifest over the size limit."""

    code, status, message = "SIZE_INVALID", 413, "manifest too large"


class PaginationNumberInvalid(RegistryError):
    """A page size that is not a whole number in range."""

    code, status, message = "PAGINATION_NUMBER_INVALID", 400, "invalid number of results requested"


class AddressUnknown(RegistryError):
    """A path that names nothing this registry could have, whoever asks."""

    code, status, message = "UNSUPPORTED", 404, "there is nothing at this address"


class AddressTooLong(RegistryError):
    """A path with query longer than the limit, or more ``tag`` parameters than one push takes."""

    code, status, message = "UNSUPPORTED", 414, "request address too long"


class RequestInvalid(RegistryError):
    """A request whose headers or parameters contradict themselves or break their grammar."""

    code, status, message = "UNSUPPORTED", 400, "malformed request"


class HostRefused(RegistryError):
    """A ``Host`` that is not the configured login server."""

    code, status, message = "DENIED", 421, "this registry does not answer under this host name"


class RequestTimeout(RegistryError):
    """A request body that stopped arriving; what came of an upload is kept."""

    code, status, message = "UNAVAILABLE", 408, "the request body stopped arriving"


class Unauthorized(RegistryError):
    """The caller did not say who it is, or was not believed; carries the challenge header.

    ``detail`` lists what would be needed, as ``{"Type", "Name", "Action"}``; ``fault`` is the word
    that RFC 6750 has for it in the challenge.
    """

    code, status, message = "UNAUTHORIZED", 401, "authentication required"
    fault: ClassVar[str | None] = None


class TokenInvalid(Unauthorized):
    """A bearer token that is forged, expired, revoked or not for this replica."""

    fault = "invalid_token"


class ScopeInsufficient(Unauthorized):
    """A bearer token that was asked for less than its owner may do; another one may serve."""

    fault = "insufficient_scope"


class Denied(RegistryError):
    """The caller is known and may not do this."""

    code, status, message = "DENIED", 403, "Insufficient scopes to perform the operation"


class OperationNotAllowed(RegistryError):
    """A write to a ReadOnly replica, in the words of Microsoft's connected registry."""

    code, status, message = "DENIED", 405, "This operation is not allowed on this registry."


class Unsupported(RegistryError):
    """A method or feature this registry does not have."""

    code, status, message = "UNSUPPORTED", 405, "The operation is unsupported."


class TooManyRequests(RegistryError):
    """The caller asks too often; carries Retry-After."""

    code, status, message = "TOOMANYREQUESTS", 429, "too many requests"


class Unavailable(RegistryError):
    """The replica cannot answer now and the caller may try again."""

    code, status, message = "UNAVAILABLE", 503, "service unavailable"


class BlobDamaged(Unavailable):
    """A blob whose file is lost or damaged; it may be fetched again."""

    message = "the stored blob is damaged and cannot be served until it is fetched again"


class InsufficientStorage(RegistryError):
    """A push that the disk or the quota has no room for."""

    code, status, message = "DENIED", 507, "no space left for this push"


class ParentError(ReplicaError):
    """The parent registry did not do as asked. ``kind`` is the word shown to people."""

    kind: ClassVar[str] = "failed"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ParentOffline(ParentError):
    """Refused, timed out, no such name, no route."""

    kind = "offline"


class ParentUnauthorized(ParentError):
    """Credentials are missing, wrong, expired or too weak."""

    kind = "unauthorized"


class ParentNotFound(ParentError):
    """The parent answered 404. Never by itself a reason to delete anything here."""

    kind = "not found"


class ParentThrottled(ParentError):
    """The parent asked us to slow down; ``retry_after`` is in seconds where it said so."""

    kind = "throttled"


class ParentFailed(ParentError):
    """An answer that breaks the protocol or our limits; asking again would not help."""

    kind = "failed"


class ParentReadOnly(ParentFailed):
    """The parent takes no pushes at all, as a ReadOnly replica does."""

    kind = "read only"


class ParentUnavailable(ParentFailed):
    """A 408 or 5xx, which may pass by itself."""


class ParentLied(ParentError):
    """Bytes, sizes or digests that do not match what was promised; nothing was kept."""

    kind = "lying"


class SyncStopped(ReplicaError):
    """The sync ended early and on purpose: window, paused, cancelled, budget or disk."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"sync stopped: {reason}")
        self.reason = reason


class EdgeError(ReplicaError):
    """The IoT hub, edgeHub or the workload API did not do as asked. Never a reason to exit."""


class HubLost(EdgeError):
    """The session with the hub is over; the next one follows by itself."""


class HubRefused(EdgeError):
    """The hub answered a request with ``status``: 4xx will not pass by itself, except 429."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def final(self) -> bool:
        """Whether asking the same again is pointless."""
        return 400 <= self.status < 500 and self.status != 429


class WorkloadFailed(EdgeError):
    """The workload API is not there, does not answer, or answered with an error."""


class SyncRefused(ReplicaError):
    """A sync was asked for that may not start now; the sentence says what to do."""
