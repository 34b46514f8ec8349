"""An upload session as a state machine that knows nothing of files and sockets.

OCI distribution specification, "Pushing a blob in chunks" and "Streaming". ::

    OPEN --begin--> RECEIVING --receive*--> RECEIVING --end--> OPEN --finish--> FINISHED
                        '----interrupt----> OPEN       '--cancel--> CANCELLED

A state never changes; each event gives the next one or raises, and then the old one stays true.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Self

from connected_registry.errors import (
    BlobUploadInvalid,
    BlobUploadUnknown,
    RangeInvalid,
    SizeInvalid,
)

MAX_SIZE: Final = 2**63 - 1

_CONTENT_RANGE = re.compile(r"(\d{1,30})-(\d{1,30})", re.ASCII)


class Phase(Enum):
    """Where a session stands."""

    OPEN = "open"
    RECEIVING = "receiving"
    FINISHED = "finished"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ContentRange:
    """``first-last``, both inclusive, without a unit: the specification's own form."""

    first: int
    last: int

    @classmethod
    def parse(cls, header: str) -> Self:
        """Raise `BlobUploadInvalid` for what is not two numbers, `RangeInvalid` for bad ones."""
        found = _CONTENT_RANGE.fullmatch(header)
        if found is None:
            raise BlobUploadInvalid(
                f"Content-Range {header[:100]!r} does not have the form '<first>-<last>'"
            )
        first, last = int(found[1]), int(found[2])
        if last < first or last >= MAX_SIZE:
            raise RangeInvalid(f"Content-Range {header[:100]!r} is not a range of bytes")
        return cls(first, last)

    @property
    def length(self) -> int:
        """How many bytes it spans."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class UploadState:
    """``offset`` bytes are here; a chunk under way owes ``owed`` more, None where not said."""

    offset: int = 0
    phase: Phase = Phase.OPEN
    owed: int | None = None

    @property
    def range(self) -> str:
        """The Range header that tells a client where to go on; ``0-0`` where nothing is here.

        Docker's parser wants two numbers even then.
        """
        return f"0-{max(self.offset - 1, 0)}"

    def begin(self, content_range: str | None, content_length: int | None) -> UploadState:
        """A chunk's headers arrived.

        Raises `RangeInvalid`, with the true Range, for a chunk that does not start where the last
        one ended or while another is under way, `SizeInvalid` for a Content-Length that is not
        the range's length, `BlobUploadInvalid` for a malformed range, `BlobUploadUnknown` for a
        session that is over.
        """
        self._still_open()
        if self.phase is Phase.RECEIVING:
            raise self._out_of_order("another chunk of this upload is being received")
        length = content_length
        if content_range is not None:
            chunk = self._parse(content_range)
            if chunk.first != self.offset:
                raise self._out_of_order(
                    f"the chunk starts at {chunk.first}, but the upload is at {self.offset}"
                )
            if content_length not in (None, chunk.length):
                raise SizeInvalid(
                    f"Content-Range spans {chunk.length} bytes, Content-Length is {content_length}"
                )
            length = chunk.length
        if length is not None and not 0 <= length <= MAX_SIZE - self.offset:
            raise SizeInvalid(f"a chunk of {length} bytes is not possible here")
        return replace(self, phase=Phase.RECEIVING, owed=length)

    def receive(self, count: int) -> UploadState:
        """``count`` bytes of the chunk were kept. Raises `SizeInvalid` where it has too many."""
        self._receiving()
        if self.owed is not None and count > self.owed:
            raise SizeInvalid(f"the chunk has more bytes than announced, by {count - self.owed}")
        if self.offset + count > MAX_SIZE:
            raise SizeInvalid(f"an upload cannot exceed {MAX_SIZE} bytes")
        owed = None if self.owed is None else self.owed - count
        return replace(self, offset=self.offset + count, owed=owed)

    def end(self) -> UploadState:
        """The chunk's body ended. Raises `SizeInvalid` where bytes are missing."""
        self._receiving()
        if self.owed:
            raise SizeInvalid(f"the chunk ended {self.owed} bytes before the announced length")
        return replace(self, phase=Phase.OPEN, owed=None)

    def interrupt(self) -> UploadState:
        """The chunk broke off; what was kept of it stays, and `range` tells how much that is."""
        if self.phase is not Phase.RECEIVING:
            return self
        return replace(self, phase=Phase.OPEN, owed=None)

    def finish(self) -> UploadState:
        """The blob was verified and kept."""
        self._between_chunks()
        return replace(self, phase=Phase.FINISHED)

    def cancel(self) -> UploadState:
        """The client gave up. A chunk under way is no hindrance."""
        self._still_open()
        return replace(self, phase=Phase.CANCELLED, owed=None)

    def _parse(self, content_range: str) -> ContentRange:
        try:
            return ContentRange.parse(content_range)
        except RangeInvalid as error:
            raise self._out_of_order(error.text) from None

    def _still_open(self) -> None:
        if self.phase in (Phase.FINISHED, Phase.CANCELLED):
            raise BlobUploadUnknown(f"this upload is {self.phase.value}")

    def _receiving(self) -> None:
        self._still_open()
        if self.phase is not Phase.RECEIVING:
            raise BlobUploadInvalid("no chunk of this upload is being received")

    def _between_chunks(self) -> None:
        self._still_open()
        if self.phase is Phase.RECEIVING:
            raise self._out_of_order("a chunk of this upload is still being received")

    def _out_of_order(self, message: str) -> RangeInvalid:
        return RangeInvalid(message, headers={"Range": self.range})
