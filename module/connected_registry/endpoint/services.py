"""What the endpoint works with, and one request on its way through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from starlette.requests import Request

from connected_registry.endpoint.access import Access, Principal
from connected_registry.endpoint.body import Body
from connected_registry.endpoint.freshness import Freshness
from connected_registry.endpoint.memory import BlobMemory
from connected_registry.endpoint.origin import Origin, Origins
from connected_registry.endpoint.page.site import StatusPage
from connected_registry.endpoint.query import Query
from connected_registry.endpoint.target import Target
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.policy.mode import Mode
from connected_registry.storage.registry import Registry
from connected_registry.storage.uploads import Uploads


class Pull(NamedTuple):
    """Something served: told to `EndpointServices.usage` once it is."""

    kind: Literal["manifest", "blob"]
    repository: RepositoryName
    reference: Tag | Digest
    bytes: int
    principal: Principal


@dataclass(frozen=True, slots=True)
class EndpointServices:
    """The parts behind the endpoint.

    ``health`` gives what ``/healthz`` shows; its ``healthy`` decides between 200 and 503.
    """

    registry: Registry
    uploads: Uploads
    access: Access
    origins: Origins
    mode: Callable[[], Mode]
    health: Callable[[], Mapping[str, Any]]
    usage: Callable[[Pull], None] | None = None
    sparse_pushes: bool = False
    """Whether a pushed image may name blobs that were not pushed."""
    freshness: Freshness | None = None
    """Where clients are told how old what they pull is."""
    page: StatusPage | None = None
    memory: BlobMemory = field(default_factory=BlobMemory)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed, from an authenticated and authorised caller."""

    request: Request
    body: Body
    origin: Origin
    target: Target
    query: Query
    principal: Principal
    services: EndpointServices

    @property
    def is_head(self) -> bool:
        """Whether only headers are wanted."""
        return self.request.method == "HEAD"

    @property
    def repository(self) -> RepositoryName:
        """The repository in the path; only for targets that have one."""
        assert self.target.repository is not None
        return self.target.repository

    @property
    def reference(self) -> Tag | Digest:
        """The tag or digest in the path; only for targets that have one."""
        assert self.target.reference is not None
        return self.target.reference

    @property
    def digest(self) -> Digest:
        """The digest in the path; only for targets that have one."""
        assert isinstance(self.target.reference, Digest)
        return self.target.reference

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return self.request.headers.get(name)

    def link(self, path: str, last: str | None, limit: int) -> dict[str, str]:
        """The Link header to the page of ``path`` after ``last``; none where there is no more."""
        return {} if last is None else {"Link": self.query.next_page(path, last, limit)}
