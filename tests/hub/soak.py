"""The hub client under traffic while faults come one after the other.

``scripts/soak-hub --seconds 600`` runs it by hand; ``tests/faults/test_hub_soak.py`` in short.
In the same process and on the same loop the registry's endpoint serves pulls throughout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import structlog

from connected_registry.edge.patch import same
from connected_registry.endpoint.access import Access, AccessRules
from connected_registry.endpoint.dispatch import create_endpoint
from connected_registry.endpoint.origin import Origins
from connected_registry.endpoint.services import EndpointServices
from connected_registry.policy.mode import Mode
from hub.faults import FAULTS, Fault, broker_faults
from hub.rig import Rig, rig
from local_hub.module import CallError
from local_hub.web import WebServer, tcp_listener
from peers.mosquitto import mosquitto
from storage.store import image, open_store

HOLD: Final = (0.5, 1.5)
"""Seconds that a fault lasts."""
BREATH: Final = 0.5
"""Seconds of normal work between two faults."""


@dataclass
class Result:
    """What a soak saw. ``problems`` says in words what should not have been."""

    faults: Counter[str] = field(default_factory=Counter)
    events: int = 0
    received: int = 0
    duplicates: int = 0
    lost: int = 0
    methods_answered: int = 0
    methods_unheard: int = 0
    pulls: int = 0
    pulls_failed: int = 0
    slowest_pull: float = 0.0
    sessions: int = 0
    threads: tuple[int, int] = (0, 0)
    megabytes: tuple[int, int] = (0, 0)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        faults = ", ".join(f"{name} x{count}" for name, count in self.faults.items())
        return [
            f"faults: {sum(self.faults.values())} ({faults})",
            f"events: {self.events} sent, {self.received} received",
            f"events sent again: {self.duplicates}, lost: {self.lost}",
            f"methods: {self.methods_answered} answered, {self.methods_unheard} while not there",
            f"pulls: {self.pulls}, {self.pulls_failed} failed, slowest {self.slowest_pull:.2f} s",
            f"sessions: {self.sessions}",
            "threads: {} -> {}; memory: {} -> {} MB".format(*self.threads, *self.megabytes),
            *(f"PROBLEM: {problem}" for problem in self.problems),
        ]


class Soak:
    """Traffic, pulls and faults side by side, and the comparison in the end."""

    def __init__(self, it: Rig, pull_url: str, faults: dict[str, Fault], seed: int) -> None:
        self.rig = it
        self.result = Result()
        self._pull_url = pull_url
        self._faults = faults
        self._random = random.Random(seed)
        self._wanted: dict[str, Any] = {}
        self._state: dict[str, int] = {}
        self._ids: dict[int, str | None] = {}
        self._renamed = 0
        self._ending = False

    async def run(self, seconds: float) -> Result:
        """Break everything once, go on for that long, wait until it settles, and compare."""
        with _complaints() as complaints:
            await self.rig.connected()
            async with asyncio.TaskGroup() as group:
                traffic = group.create_task(self._traffic())
                pulls = group.create_task(self._pull())
                noting = group.create_task(self._note())
                await self._break(time.monotonic() + seconds)
                self._ending = True
                await traffic
                await self._settle()
                pulls.cancel()
                noting.cancel()
            self._compare()
        self.result.problems += complaints
        return self.result

    async def _traffic(self) -> None:
        number = 0
        while not self._ending:
            number += 1
            await self.rig.emit("usage", {"n": number})
            self.result.events = number
            self._state[f"k{number % 7}"] = number
            if number % 11 == 0:
                self._state.pop(f"k{(number + 3) % 7}", None)
            self._wanted = {"n": number, "state": dict(self._state)}
            self.rig.client.report(self._wanted)
            if number % 20 == 0:
                self.rig.module.patch_desired({"n": number, "o": {f"x{number % 5}": number}})
            if number % 20 == 10:
                self.rig.module.patch_desired({"o": {f"x{number % 3}": None}})
            if number % 15 == 0:
                await self._call(number)
            await asyncio.sleep(0.03)

    async def _note(self) -> None:
        """Take down what the hub received; it keeps the last messages only."""
        messages = self.rig.module.telemetry
        while True:
            while messages:
                message = messages.popleft()
                first = self._ids.setdefault(message.content["n"], message.message_id)
                self._renamed += first != message.message_id
                self.result.received += 1
            await asyncio.sleep(0.1)

    async def _call(self, number: int) -> None:
        try:
            answer = await self.rig.module.invoke("echo", number, response_timeout=1)
        except CallError:
            self.result.methods_unheard += 1
            return
        if answer == (200, {"echo": number}):
            self.result.methods_answered += 1
        else:
            self.result.problems.append(f"method {number} was answered with {answer}")

    async def _pull(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            while True:
                began = time.monotonic()
                try:
                    answer = await client.get(self._pull_url)
                    failed = answer.status_code != 200
                except httpx.HTTPError:
                    failed = True
                self.result.pulls += 1
                self.result.pulls_failed += failed
                slowest = max(self.result.slowest_pull, time.monotonic() - began)
                self.result.slowest_pull = slowest
                await asyncio.sleep(0.05)

    async def _break(self, end: float) -> None:
        names = list(self._faults)
        self._random.shuffle(names)
        for turn in itertools.count():
            for name in names:
                if turn and time.monotonic() >= end:
                    return
                async with self._faults[name](self.rig):
                    await asyncio.sleep(self._random.uniform(*HOLD))
                self.result.faults[name] += 1
                await self.rig.until(lambda: self.rig.client.state.connected, limit=120)
                await asyncio.sleep(BREATH)
            if not self.result.threads[0]:
                # By now everything has been loaded and started that ever is.
                self.result.threads = (threading.active_count(), 0)
                self.result.megabytes = (_megabytes(), 0)

    async def _settle(self) -> None:
        module = self.rig.module
        version = module.patch_desired({"settled": True})
        with contextlib.suppress(TimeoutError):
            await self.rig.until(
                lambda: (
                    len(self.rig.outbox) == 0
                    and not module.telemetry
                    and self.rig.client.state.reported_settled
                    and same(module.reported.values, self._wanted)
                    and self.rig.desired[-1][0] == version
                ),
                limit=120,
            )
        await self.rig.module.until(lambda module: module.ready)
        await self._call(-1)

    def _compare(self) -> None:
        result, it = self.result, self.rig
        result.duplicates = result.received - len(self._ids)
        result.lost = result.events - len(self._ids)
        result.sessions = it.client.state.sessions
        threads, megabytes = result.threads[0], result.megabytes[0]
        result.threads = (threads or threading.active_count(), threading.active_count())
        result.megabytes = (megabytes or _megabytes(), _megabytes())
        checks = {
            f"{result.lost} events were lost": result.lost,
            "an event was sent under two ids": self._renamed,
            "reported is not what is wanted": not same(it.module.reported.values, self._wanted),
            "desired is not what the hub has": not same(
                it.desired[-1][1], it.module.desired.values
            ),
            f"{result.pulls_failed} pulls failed": result.pulls_failed,
            "threads have grown": result.threads[1] > result.threads[0] + 2,
            "memory has grown": result.megabytes[1] > result.megabytes[0] + 16,
        }
        result.problems += [problem for problem, found in checks.items() if found]


class _Listener(logging.Handler):
    """Collects what asyncio complains about: lost exceptions, late answers."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"asyncio: {record.getMessage()[:300]}")


@contextlib.contextmanager
def _complaints() -> Any:
    listener = _Listener()
    logger = logging.getLogger("asyncio")
    logger.addHandler(listener)
    try:
        yield listener.texts
    finally:
        logger.removeHandler(listener)


@contextlib.asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[str]:
    """The endpoint on our loop; the address of a manifest."""
    with open_store(folder) as store:
        digest = store.push(image(b"layer"), "1.0")
        services = EndpointServices(
            registry=store.registry,
            uploads=store.uploads,
            access=Access(
                AccessRules(open=True), key=bytes(32), audience="soak", clock=store.clock
            ),
            origins=Origins(None, ()),
            mode=lambda: Mode.READ_ONLY,
            health=dict,
            usage=lambda pull: None,
        )
        listener = tcp_listener("127.0.0.1", 0)
        port = listener.getsockname()[1]
        async with WebServer(create_endpoint(services), listener):
            yield f"http://127.0.0.1:{port}/v2/team/app/manifests/{digest}"


async def soak(folder: Path, seconds: float, *, seed: int, broker: bool = False) -> Result:
    """One soak in ``folder``; with ``broker`` against mosquitto."""
    async with (
        _served(folder / "store") as url,
        rig(folder / "rig", hub_open=not broker) as it,
        contextlib.AsyncExitStack() as stack,
    ):
        faults = FAULTS
        if broker:
            other = mosquitto(it.module, it.hub.authority, it.hub.gateway, folder)
            faults = broker_faults(await stack.enter_async_context(other))
        return await Soak(it, url, faults, seed).run(seconds)


def _megabytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 // 2**20


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/soak-hub", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to break things")
    parser.add_argument("--seed", type=int, default=None, help="for the order of the faults")
    parser.add_argument("--mosquitto", action="store_true", help="against Debian's mosquitto")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.WARNING)
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(
            soak(Path(folder), arguments.seconds, seed=seed, broker=arguments.mosquitto)
        )
    sys.stdout.write("\n".join([*result.lines(), ""]))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
