"""The upload session's state machine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connected_registry.errors import (
    BlobUploadInvalid,
    BlobUploadUnknown,
    RangeInvalid,
    RegistryError,
    SizeInvalid,
)
from connected_registry.oci.upload import MAX_SIZE, ContentRange, Phase, UploadState

HALF = UploadState(offset=10)


@given(st.integers(0, MAX_SIZE // 2), st.integers(1, MAX_SIZE // 2))
def test_a_content_range_has_two_inclusive_ends(first: int, length: int) -> None:
    """What is written as first and last byte is read as such."""
    parsed = ContentRange.parse(f"{first}-{first + length - 1}")
    assert (parsed.first, parsed.length) == (first, length)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "0-",
        "-5",
        "a-b",
        "bytes 0-9/10",
        "bytes=0-9",
        "0-9/10",
        "0 - 9",
        "+0-9",
        "٠-٩",
        "9" * 31,
    ],
)
def test_a_malformed_content_range_is_a_bad_request(header: str) -> None:
    """What is not two numbers is answered with 400 and leaves the session as it was."""
    with pytest.raises(BlobUploadInvalid) as caught:
        HALF.begin(header, None)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "header", ["5-4", "0-9", "11-20", "9-12", "10-9223372036854775807", f"10-{10**29}"]
)
def test_a_chunk_out_of_order_is_told_the_truth(header: str) -> None:
    """Gaps, overlaps and impossible ranges are answered with 416 and how far the upload is."""
    with pytest.raises(RangeInvalid) as caught:
        HALF.begin(header, None)
    assert caught.value.status == 416
    assert caught.value.headers == {"Range": "0-9"}


@pytest.mark.parametrize("length", [9, 11, 0])
def test_a_length_that_is_not_the_range_s_is_refused(length: int) -> None:
    """Content-Length and Content-Range must agree."""
    with pytest.raises(SizeInvalid, match="spans 10 bytes"):
        HALF.begin("10-19", length)


@pytest.mark.parametrize("length", [-1, MAX_SIZE])
def test_an_impossible_length_is_refused(length: int) -> None:
    """A length that cannot be received is refused at once."""
    with pytest.raises(SizeInvalid):
        HALF.begin(None, length)


def test_an_empty_session_reports_a_range_of_two_numbers() -> None:
    """Docker's parser needs two numbers with the end not before the start."""
    assert UploadState().range == "0-0"
    assert UploadState(offset=1).range == "0-0"
    assert HALF.range == "0-9"


def test_a_short_chunk_keeps_what_came() -> None:
    """A body that ends early is refused, and after it the offset is what was received."""
    receiving = HALF.begin("10-19", 10).receive(4)
    with pytest.raises(SizeInvalid, match="ended 6 bytes before"):
        receiving.end()
    assert receiving.interrupt() == UploadState(offset=14)


def test_a_long_chunk_is_refused() -> None:
    """More bytes than announced are not taken."""
    with pytest.raises(SizeInvalid, match="by 3"):
        HALF.begin(None, 2).receive(5)


def test_a_stream_cannot_exceed_what_can_be_counted() -> None:
    """A stream without a length ends at the largest size there is."""
    nearly = UploadState(offset=MAX_SIZE).begin(None, None)
    with pytest.raises(SizeInvalid, match="cannot exceed"):
        nearly.receive(1)


def test_only_one_chunk_at_a_time() -> None:
    """While a chunk is being received neither another one nor the end is possible."""
    receiving = HALF.begin(None, None)
    with pytest.raises(RangeInvalid, match="another chunk"):
        receiving.begin(None, 0)
    with pytest.raises(RangeInvalid, match="still being received"):
        receiving.finish()


def test_bytes_without_a_chunk_are_refused() -> None:
    """Receiving and ending need a beginning; breaking off does not."""
    with pytest.raises(BlobUploadInvalid):
        HALF.receive(1)
    with pytest.raises(BlobUploadInvalid):
        HALF.end()
    assert HALF.interrupt() is HALF


@pytest.mark.parametrize("over", [HALF.finish(), HALF.cancel(), HALF.begin(None, 5).cancel()])
def test_what_is_over_is_unknown(over: UploadState) -> None:
    """A finished or cancelled session takes nothing more."""
    events: list[Any] = [
        lambda: over.begin(None, None),
        lambda: over.receive(1),
        over.end,
        over.finish,
        over.cancel,
    ]
    for event in events:
        with pytest.raises(BlobUploadUnknown):
            event()


class Sessions(RuleBasedStateMachine):
    """A client that does anything in any order, against a plain count of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.state = UploadState()
        self.kept = 0
        self.expected: int | None = None

    @rule(first=st.integers(-3, 3), length=st.integers(1, 9), told=st.integers(-1, 1) | st.none())
    def begin_chunk(self, first: int, length: int, told: int | None) -> None:
        """Announce a chunk near the offset, with a length that may not fit."""
        start = self.kept + first
        before = self.state
        try:
            self.state = self.state.begin(
                f"{start}-{start + length - 1}", None if told is None else length + told
            )
        except RegistryError:
            assert self.state is before
            assert first != 0 or told not in (None, 0) or before.phase is not Phase.OPEN
        else:
            assert first == 0
            assert told in (None, 0)
            self.expected = self.kept + length

    @rule(length=st.none() | st.integers(0, 9))
    def begin_stream(self, length: int | None) -> None:
        """Announce bytes without a range."""
        try:
            self.state = self.state.begin(None, length)
        except RegistryError:
            assert self.state.phase is not Phase.OPEN
        else:
            self.expected = None if length is None else self.kept + length

    @precondition(lambda self: self.state.phase is Phase.RECEIVING)
    @rule(count=st.integers(0, 5))
    def receive(self, count: int) -> None:
        """Bytes arrive, perhaps too many."""
        fits = self.expected is None or self.kept + count <= self.expected
        try:
            self.state = self.state.receive(count)
        except SizeInvalid:
            assert not fits
        else:
            assert fits
            self.kept += count

    @precondition(lambda self: self.state.phase is Phase.RECEIVING)
    @rule()
    def end(self) -> None:
        """The body ends, perhaps too early."""
        try:
            self.state = self.state.end()
        except SizeInvalid:
            assert self.expected != self.kept
        else:
            assert self.expected in (None, self.kept)

    @rule()
    def interrupt(self) -> None:
        """The connection breaks."""
        self.state = self.state.interrupt()
        assert self.state.phase is not Phase.RECEIVING

    @precondition(lambda self: self.state.phase is Phase.OPEN)
    @rule(finish=st.booleans())
    def leave(self, finish: bool) -> None:
        """The session ends one way or the other."""
        self.state = self.state.finish() if finish else self.state.cancel()

    @invariant()
    def tells_the_truth(self) -> None:
        """The offset is always the number of bytes kept."""
        assert self.state.offset == self.kept
        assert self.state.range == f"0-{max(self.kept - 1, 0)}"


TestSessions = Sessions.TestCase
