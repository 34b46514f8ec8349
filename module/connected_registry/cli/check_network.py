"""Checks of the clock, the parent and the hub: what needs the network."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from connected_registry.app.link import USER_AGENT, ParentChoice
from connected_registry.cli.finding import Finding, ok, problem, skipped, warning
from connected_registry.edge.destination import Destination
from connected_registry.edge.identity import find_identity
from connected_registry.edge.probe import probe
from connected_registry.edge.route import HubRoute
from connected_registry.edge.twin import MODEL_ID
from connected_registry.errors import (
    ConfigurationError,
    EdgeError,
    HubLost,
    ParentError,
    ParentNotFound,
    ParentOffline,
    ParentUnauthorized,
)
from connected_registry.oci.reference import RepositoryName
from connected_registry.parent.client import Limits, ParentAddress, ParentClient
from connected_registry.policy.scope import Scope

CLOCK: Final = "clock"
DNS: Final = "DNS"
LOGIN: Final = "parent login"
RIGHTS: Final = "parent rights"
HUB: Final = "hub"

EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
SKEW: Final = timedelta(minutes=5)
PATIENCE: Final = timedelta(seconds=10)
MAX_REPOSITORIES: Final = 50
_LIMITS: Final = Limits(connect=5.0, read=10.0, attempts=1)


def check_clock(now: datetime, parent: datetime | None) -> Finding:
    """The year can be, and the parent's clock says the same."""
    remedy = "set the clock, and let NTP keep it (timedatectl set-ntp true)"
    if not EARLIEST <= now < LATEST:
        return problem(CLOCK, f"it says {now:%Y-%m-%d}: no certificate is valid then", remedy)
    if parent is None:
        return ok(CLOCK, f"it says {now:%Y-%m-%d %H:%M} UTC; there is no parent to compare with")
    skew = abs(now - parent)
    text = f"it is {int(skew.total_seconds())} s from the parent's"
    if skew > SKEW:
        return problem(CLOCK, f"{text}: tokens and certificates may be refused", remedy)
    if skew > SKEW / 10:
        return warning(CLOCK, text, remedy)
    return ok(CLOCK, text)


async def parent_time(address: ParentAddress) -> datetime | None:
    """What the parent's ``Date`` says; None where it does not answer or say."""
    verify = ssl.create_default_context(cafile=address.ca_file) if address.ca_file else True
    try:
        async with httpx.AsyncClient(
            verify=verify, proxy=address.proxy, timeout=PATIENCE.total_seconds(), trust_env=False
        ) as client:
            answer = await client.get(f"{address.protocol}://{address.host}/v2/")
        return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    except (httpx.HTTPError, OSError, KeyError, ValueError):
        return None


async def check_dns(address: ParentAddress) -> Finding:
    """The parent's name is known, where we are the one who looks it up."""
    if address.proxy is not None:
        return skipped(DNS, "the proxy looks the parent up")
    host = urlsplit(f"//{address.host}").hostname or address.host
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, None, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError) as error:
        reason = error.strerror or "no answer"
        return problem(
            DNS,
            f"{host} is not found: {reason}",
            "check the name in the connection string or parent.loginServer, and the name server "
            "in /etc/resolv.conf",
        )
    return ok(DNS, f"{host} is {', '.join(sorted({str(each[4][0]) for each in found}))}")


async def check_parent(choice: ParentChoice, scope: Scope) -> list[Finding]:
    """The parent takes our login and shows every repository of the scope."""
    address = choice.address
    who = choice.credentials.username if choice.credentials is not None else "nobody"
    async with ParentClient(
        address, choice.credentials, user_agent=USER_AGENT, limits=_LIMITS
    ) as client:
        try:
            await client.ping()
        except ParentError as error:
            return [problem(LOGIN, f"{address.host} as {who}: {error}", _login_remedy(error))]
        found = [ok(LOGIN, f"{address.host} takes {who}")]
        names, failure = await _names(client, scope)
        if failure is not None:
            found.append(failure)
        for name in sorted(names)[:MAX_REPOSITORIES]:
            found.append(await _check_repository(client, name))  # noqa: PERF401 - one at a time
        if not scope.repositories:
            found.append(skipped(RIGHTS, "the scope names no repository"))
    return found


def _login_remedy(error: ParentError) -> str:
    if isinstance(error, ParentOffline):
        return "check cable, firewall and proxy; the site goes on with what it has"
    if isinstance(error, ParentUnauthorized):
        return (
            "make a new password for the sync token and put it into the connection string, or see "
            "whether the token is disabled or expired"
        )
    return "check that the parent is a registry and that CONNECTED_REGISTRY_PARENT_* fit it"


async def _names(client: ParentClient, scope: Scope) -> tuple[set[RepositoryName], Finding | None]:
    names = {RepositoryName(name) for name in scope.names}
    if not scope.patterns:
        return names, None
    try:
        listed = await client.list_repositories()
    except ParentError as error:
        patterns = ", ".join(rule.name for rule in scope.patterns)
        return names, problem(
            RIGHTS,
            f"the catalogue, which {patterns} needs, is refused: {error}",
            "allow the sync token to list the catalogue, or name the repositories one by one",
        )
    return names | {name for name in listed if scope.rule_for(name) is not None}, None


async def _check_repository(client: ParentClient, name: RepositoryName) -> Finding:
    try:
        listing = await client.list_tags(name)
        if listing.tags:
            await client.head_manifest(name, listing.tags[0].name)
    except ParentNotFound:
        return problem(
            RIGHTS,
            f"{name} is not at the parent",
            "check the name in scope.repositories; a token without rights may see this, too",
        )
    except ParentUnauthorized as error:
        return problem(
            RIGHTS,
            f"{name}: {error}",
            f"give the sync token content/read and metadata/read on {name}",
        )
    except ParentError as error:
        return problem(RIGHTS, f"{name}: {error}", "try again; if it stays, look at the parent")
    return ok(RIGHTS, f"{name}: {len(listing.tags)} tags can be read")


async def check_hub(environ: Mapping[str, str]) -> Finding:
    """The module has an identity, and the hub or edgeHub answers."""
    try:
        identity = find_identity(environ)
        route = HubRoute.from_environment(environ)
    except ConfigurationError as error:
        return problem(HUB, str(error), "correct the variable; IoT Edge sets its own by itself")
    if identity is None:
        return skipped(HUB, "this is no IoT Edge module; a twin file takes the hub's place")
    destination = Destination(identity, route, MODEL_ID)
    remedy = (
        f"open port {route.port} to {identity.server}, set CONNECTED_REGISTRY_HUB_WEBSOCKETS=true "
        "for port 443, or see whether edgeHub runs"
    )
    try:
        await probe(destination, await identity.trusted_ca(), PATIENCE)
    except HubLost as error:
        return problem(HUB, str(error), remedy)
    except EdgeError as error:
        return problem(HUB, str(error), "see whether iotedged runs: iotedge system status")
    except OSError as error:
        return problem(HUB, f"its authorities cannot be read: {error}", "check the CA file")
    return ok(HUB, f"{destination} answers")
