"""A parent client as tests want it: impatient, on loopback, in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from connected_registry.parent.client import Credentials, Limits, ParentAddress, ParentClient

IMPATIENT = Limits(
    connect=5.0, read=5.0, answer=20.0, retry_first=0.001, retry_longest=0.01, retry_after=5.0
)
"""Few and short waits; a test that needs shorter ones says so."""


class Peer(Protocol):
    """Any registry of `peers`, or a proxy before one."""

    @property
    def address(self) -> str:
        """``host:port``."""


def client_of(
    peer: Peer,
    user: tuple[str, str] | None = None,
    *,
    realm_hosts: tuple[str, ...] = (),
    protocol: Literal["http", "https"] = "http",
    address: dict[str, Any] | None = None,
    **limits: Any,
) -> ParentClient:
    """A client of ``peer`` as ``user`` (name, password); other keywords are fields of `Limits`."""
    credentials = Credentials(user[0], SecretStr(user[1])) if user else None
    return ParentClient(
        ParentAddress(peer.address, protocol, realm_hosts=realm_hosts, **(address or {})),
        credentials,
        user_agent="connected-registry/tests",
        limits=replace(IMPATIENT, **limits),
    )
