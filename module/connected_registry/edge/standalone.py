"""Without a hub: desired properties from a watched file, reported ones to another."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from connected_registry.edge.patch import Document
from connected_registry.errors import StorageError, TwinInvalid

INTERVAL: Final = timedelta(seconds=1)
MAX_FILE: Final = 1024 * 1024
KEY: Final = "twin file"

Receive = Callable[[Document, int], Awaitable[bool]]
Refuse = Callable[[TwinInvalid, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Look:
    """What ``stat`` says; another one means that the file may have changed."""

    modified: int
    size: int
    inode: int


class TwinFile:
    """Hands every new content of ``path`` on, with a version that counts up.

    ``receive`` takes a document, ``refuse`` the reason why there is none. What cannot be parsed is
    looked at once more before it is refused: an editor may still be writing it.
    """

    def __init__(
        self,
        path: Path,
        receive: Receive,
        refuse: Refuse,
        *,
        version: int = 0,
        interval: timedelta = INTERVAL,
    ) -> None:
        self._path = path
        self._receive = receive
        self._refuse = refuse
        self._version = version
        self._interval = interval
        self._look: _Look | None = None
        self._seen = ""
        self._doubtful = ""

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self.check()
            await asyncio.sleep(self._interval.total_seconds())

    async def check(self, *, patient: bool = True) -> None:
        """Look once, and hand on what is new; ``patient`` False refuses bad content at once."""
        look = await asyncio.to_thread(self._stat)
        if look is not None and look == self._look:
            return
        document: Document | None = None
        refusal: TwinInvalid | None = None
        try:
            content = await asyncio.to_thread(self._read)
        except TwinInvalid as error:
            refusal, mark = error, str(error)
        else:
            mark = hashlib.sha256(content).hexdigest()
            try:
                document = read_document(content)
            except TwinInvalid as error:
                refusal = error
        if mark != self._seen:
            if refusal is not None and patient and mark != self._doubtful:
                self._doubtful = mark
                return
            self._version += 1
            if refusal is not None:
                await self._refuse(refusal, self._version)
            elif document is not None:
                await self._receive(document, self._version)
        # Only now: had the callable failed, the content would be handed on again.
        self._look, self._seen, self._doubtful = look, mark, ""

    def _stat(self) -> _Look | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return _Look(found.st_mtime_ns, found.st_size, found.st_ino)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except OSError as error:
            raise TwinInvalid(
                KEY, str(self._path), f"the file cannot be read: {error.strerror}"
            ) from None
        if len(content) > MAX_FILE:
            raise TwinInvalid(KEY, str(self._path), f"the file is longer than {MAX_FILE} bytes")
        return content


def read_document(content: bytes) -> Document:
    """The desired document in ``content``: bare, or under ``properties.desired``.

    Raises `TwinInvalid` with line and column for what is not JSON.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TwinInvalid(KEY, f"line {line}", "the file must be UTF-8 text") from None
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        raise TwinInvalid(
            KEY,
            f"line {error.lineno}, column {error.colno}",
            f"the file must be JSON without comments ({error.msg})",
        ) from None
    except RecursionError:
        raise TwinInvalid(KEY, "(object)", "the file is nested too deeply") from None
    if not isinstance(document, dict):
        raise TwinInvalid(KEY, type(document).__name__, "the file must hold one JSON object")
    if "properties" not in document:
        return document
    properties = document["properties"]
    desired = properties.get("desired") if isinstance(properties, dict) else None
    if not isinstance(desired, dict):
        raise TwinInvalid("properties.desired", None, "must be a JSON object")
    return desired


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    document: Document = {}
    for key, value in pairs:
        if key in document:
            raise TwinInvalid(key, "(twice)", "a key may be there once only")
        document[key] = value
    return document


def _no_constant(name: str) -> Any:
    raise TwinInvalid(KEY, name, "must be a finite number")


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise TwinInvalid(KEY, digits[:20] + "...", "must be a number that a twin can hold")
    return int(digits)


class ReportedFile:
    """Receives the reported properties: always whole, never half-written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, patch: Document, document: Document) -> None:
        """Replace the file's content by ``document``. Raises `StorageError`."""
        await asyncio.to_thread(self._replace, document)

    def _replace(self, document: Document) -> None:
        content = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        try:
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".reported-")
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(content)
                    os.fchmod(file.fileno(), 0o644)
                temporary.replace(self._path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StorageError(
                f"the reported properties cannot be written to {self._path}: {error.strerror}"
            ) from error
