"""The faults of the soak: each breaks something, holds, and mends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from hub.rig import Rig
from peers.mosquitto import Mosquitto

Fault = Callable[[Rig], contextlib.AbstractAsyncContextManager[None]]


def switch(**faults: Any) -> Fault:
    """A switch of the module's `Faults`, on for a while; the connection is dropped before."""

    @contextlib.asynccontextmanager
    async def broken(rig: Rig) -> AsyncIterator[None]:
        before = {name: getattr(rig.module.faults, name) for name in faults}
        for name, value in faults.items():
            setattr(rig.module.faults, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(rig.module.faults, name, value)

    return broken


def dropping(fault: Fault) -> Fault:
    """``fault``, met by a session that has to begin anew."""

    @contextlib.asynccontextmanager
    async def broken(rig: Rig) -> AsyncIterator[None]:
        async with fault(rig):
            rig.hub.drop(rig.module)
            yield

    return broken


def workload(**faults: Any) -> Fault:
    """A switch of the workload API, met by a session that has to begin anew."""

    @contextlib.asynccontextmanager
    async def broken(rig: Rig) -> AsyncIterator[None]:
        for name, value in faults.items():
            setattr(rig.hub.workload.faults, name, value)
        rig.hub.drop(rig.module)
        try:
            yield
        finally:
            for name, value in faults.items():
                setattr(rig.hub.workload.faults, name, type(value)())

    return broken


@contextlib.asynccontextmanager
async def drop(rig: Rig) -> AsyncIterator[None]:
    """The connection ends without a word."""
    rig.hub.drop(rig.module)
    yield


@contextlib.asynccontextmanager
async def absence(rig: Rig) -> AsyncIterator[None]:
    """The hub is away and comes back as it was."""
    await rig.hub.stop()
    yield
    rig.hub.start()


@contextlib.asynccontextmanager
async def amnesia(rig: Rig) -> AsyncIterator[None]:
    """The hub starts anew and has forgotten its sessions."""
    await rig.hub.restart(lose_sessions=True)
    yield


@contextlib.asynccontextmanager
async def handshake(rig: Rig) -> AsyncIterator[None]:
    """New connections are taken and never get their TLS handshake."""
    rig.hub.stalled = True
    rig.hub.drop(rig.module)
    yield
    rig.hub.stalled = False


FAULTS: Final[dict[str, Fault]] = {
    "connection dropped": drop,
    "hub away": absence,
    "sessions lost": amnesia,
    "login refused": dropping(switch(refuse=5)),
    "hub unavailable": dropping(switch(refuse=3)),
    "half-open connection": switch(stall=True),
    "TLS handshake stalled": handshake,
    "acknowledgements lost": switch(lose_acknowledgements=True),
    "subscriptions unconfirmed": dropping(switch(lose_subscriptions=True)),
    "twin answers lost": dropping(switch(lose_twin_answers=True)),
    "reports applied, answers lost": switch(lose_twin_answers=True, apply_unanswered=True),
    "twin unknown": dropping(switch(twin_unknown=True)),
    "twin fails with 500": switch(twin_status=500),
    "twin throttled with 429": switch(twin_status=429),
    "desired patches twice": switch(duplicate_desired=True),
    "desired patches out of order": switch(reorder_desired=True),
    "desired patches lost": switch(lose_desired=True),
    "workload API fails": workload(status=500),
    "workload API hangs": workload(hang=True),
    "wrong signatures": workload(wrong_signature=True),
}
"""By the name that the soak reports."""


def broker_faults(broker: Mosquitto) -> dict[str, Fault]:
    """What can be done to a broker that is not ours."""

    @contextlib.asynccontextmanager
    async def killed(_rig: Rig) -> AsyncIterator[None]:
        await broker.kill()
        yield
        await broker.start()

    @contextlib.asynccontextmanager
    async def suspended(_rig: Rig) -> AsyncIterator[None]:
        broker.suspend()
        await asyncio.sleep(2)
        yield
        broker.resume()

    return {"mosquitto killed": killed, "mosquitto suspended": suspended}
