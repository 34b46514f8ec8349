"""One module as the hub knows it: twin, method calls, telemetry. No sockets here."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import quote

from local_hub.access_key import AccessKey
from local_hub.faults import Faults
from local_hub.section import Document, Section, SectionError
from local_hub.telemetry import KEPT, Journal, Telemetry, parse_bag

DESIRED: Final = "$iothub/twin/PATCH/properties/desired/#"
METHODS: Final = "$iothub/methods/POST/#"
TWIN_ANSWERS: Final = "$iothub/twin/res/#"

Answer = tuple[str, bytes]


class CallError(Exception):
    """A method call that the module did not answer: 404 not there, 504 silent."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Link(Protocol):
    """The connection of a module."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message to the module."""

    def abort(self) -> None:
        """End the connection without a word."""


@dataclass(frozen=True)
class Note:
    """Something that happened, in the order of happening; tests read these."""

    what: str
    detail: Any = None


class Module:
    """A module's identity and all its state; a new connection finds it as the last one left it."""

    def __init__(
        self,
        device: str,
        name: str,
        key: AccessKey,
        *,
        desired: Section | None = None,
        reported: Section | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.device = device
        self.name = name
        self.key = key
        self.desired = desired or Section()
        self.reported = reported or Section()
        self.faults = Faults()
        self.telemetry: deque[Telemetry] = deque(maxlen=KEPT)
        self.notes: deque[Note] = deque(maxlen=KEPT)
        self.model_id: str | None = None
        self.user_name: str | None = None
        self.link: Link | None = None
        self.subscriptions: dict[str, int] = {}
        self.connects = 0
        self._journal = journal or Journal()
        self._calls: dict[str, asyncio.Future[tuple[int, Any]]] = {}
        self._held: Answer | None = None
        self._changed = asyncio.Event()

    @property
    def path(self) -> str:
        """``device/module``: the MQTT client id."""
        return f"{self.device}/{self.name}"

    @property
    def connected(self) -> bool:
        """Whether a connection is open."""
        return self.link is not None

    @property
    def ready(self) -> bool:
        """Whether the module listens for everything the hub may tell it."""
        return all(self._listens(topic) for topic in (DESIRED, METHODS, TWIN_ANSWERS))

    async def until(self, test: Callable[[Module], object], limit: float = 60) -> None:
        """Return once ``test(self)`` is true; raise `TimeoutError` after ``limit`` seconds."""
        async with asyncio.timeout(limit):
            while not test(self):
                await self._changed.wait()

    def note(self, what: str, detail: Any = None) -> None:
        """Remember what happened and let `until` look again."""
        self.notes.append(Note(what, detail))
        self._changed.set()
        self._changed = asyncio.Event()

    def count(self, what: str) -> int:
        """How often something happened."""
        return sum(note.what == what for note in self.notes)

    def patch_desired(self, patch: object) -> int:
        """What an operator does; the new version. Raise `SectionError` for a bad patch."""
        self.desired.patch(patch)
        self._tell_desired(patch)
        return self.desired.version

    def replace_desired(self, values: object) -> int:
        """Replace the whole section.

        The module is told the new values only, without a null for each one that is gone: a
        module that merges patches cannot see the difference, and finds it by reading the twin.
        """
        self.desired.replace(values)
        self._tell_desired(values)
        return self.desired.version

    def twin(self) -> Document:
        """Both sections with their versions."""
        return {"desired": self.desired.document(), "reported": self.reported.document()}

    async def invoke(
        self,
        method: str,
        payload: Any = None,
        *,
        response_timeout: float = 30.0,
        connect_timeout: float = 0.0,
    ) -> tuple[int, Any]:
        """Call a direct method: the module's status and answer, or raise `CallError`."""
        try:
            await self.until(lambda module: module._listens(METHODS), connect_timeout)
        except TimeoutError:
            raise CallError(404, f"{self.path} is not connected") from None
        request = uuid.uuid4().hex
        answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        self._calls[request] = answer
        body = b"" if payload is None else json.dumps(payload).encode()
        self._send(METHODS, f"$iothub/methods/POST/{quote(method)}/?$rid={request}", body)
        try:
            async with asyncio.timeout(response_timeout):
                return await answer
        except TimeoutError:
            raise CallError(504, f"{self.path} did not answer {method} in time") from None
        finally:
            del self._calls[request]

    def receive(self, topic: str, payload: bytes) -> Answer | None:
        """Take a message of the module; what the hub answers to it, as topic and payload."""
        events = f"devices/{self.device}/modules/{self.name}/messages/events/"
        if topic.startswith(events):
            self._take_telemetry(parse_bag(topic.removeprefix(events)), payload)
        elif topic.startswith("$iothub/twin/GET/"):
            self.note("twin read")
            return self._answer(topic, 200, json.dumps(self._visible_twin()).encode())
        elif topic.startswith("$iothub/twin/PATCH/properties/reported/"):
            return self._take_report(topic, payload)
        elif topic.startswith("$iothub/methods/res/"):
            self._take_method_answer(topic, payload)
        else:
            self.note("unknown topic", topic)
        return None

    def attach(self, link: Link, *, clean_session: bool) -> bool:
        """Make ``link`` the module's one connection; whether a session was there before."""
        if self.link is not None:
            self.note("taken over")
            self.link.abort()
        if clean_session:
            self.subscriptions.clear()
        self.link = link
        self.connects += 1
        self.note("connected")
        return bool(self.subscriptions)

    def detach(self, link: Link) -> None:
        """Forget ``link`` unless another has taken its place."""
        if self.link is link:
            self.link = None
            self.note("disconnected")

    def forget_session(self) -> None:
        """Lose the subscriptions, as an edgeHub that was made anew without its storage does."""
        self.subscriptions.clear()

    def _listens(self, topic: str) -> bool:
        return self.link is not None and topic in self.subscriptions

    def _send(self, subscription: str, topic: str, payload: bytes) -> None:
        if self._listens(subscription) and not self.faults.stall:
            assert self.link is not None
            self.link.publish(topic, payload)

    def _tell_desired(self, patch: Any) -> None:
        self.note("desired changed", patch)
        version = self.desired.version
        message = (
            f"$iothub/twin/PATCH/properties/desired/?$version={version}",
            json.dumps({**patch, "$version": version}).encode(),
        )
        if self.faults.lose_desired:
            return
        if self.faults.reorder_desired and self._held is None:
            self._held = message
            return
        self._send(DESIRED, *message)
        if self.faults.duplicate_desired:
            self._send(DESIRED, *message)
        if self._held is not None:
            held, self._held = self._held, None
            self._send(DESIRED, *held)

    def _visible_twin(self) -> Document:
        return {"desired": {}, "reported": {}} if self.faults.twin_unknown else self.twin()

    def _take_telemetry(self, bag: dict[str, str], body: bytes) -> None:
        message = Telemetry(
            sequence=self._journal.number(),
            device=self.device,
            module=self.name,
            body=body,
            properties={key: value for key, value in bag.items() if not key.startswith("$.")},
            system={key: value for key, value in bag.items() if key.startswith("$.")},
            received_at=datetime.now(UTC),
        )
        self.telemetry.append(message)
        self._journal.add(message)
        self.note("telemetry", message)

    def _take_report(self, topic: str, payload: bytes) -> Answer | None:
        if self.faults.lose_twin_answers and not self.faults.apply_unanswered:
            self.note("report lost")
            return None
        try:
            patch = json.loads(payload)
            if not self.faults.twin_status:
                self.reported.patch(patch)
                self.note("reported", patch)
        except (SectionError, ValueError) as error:
            self.note("report refused", str(error))
            return self._answer(topic, 400, b"")
        return self._answer(topic, 204, b"", f"&$version={self.reported.version}")

    def _take_method_answer(self, topic: str, payload: bytes) -> None:
        path, _, bag = topic.partition("/?")
        status = int(path.rpartition("/")[2])
        self.note("method answered", status)
        call = self._calls.get(parse_bag(bag).get("$rid", ""))
        if call is not None and not call.done():
            call.set_result((status, json.loads(payload or b"null")))

    def _answer(self, topic: str, status: int, body: bytes, tail: str = "") -> Answer | None:
        if self.faults.lose_twin_answers:
            self.note("twin answer lost")
            return None
        request = parse_bag(topic.partition("?")[2])["$rid"]
        if self.faults.twin_status:
            status = self.faults.twin_status
        good = status < 300
        return (
            f"$iothub/twin/res/{status}/?$rid={request}{tail if good else ''}",
            body if good else b"",
        )
