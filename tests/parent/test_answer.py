"""Statuses, headers and library errors in our words."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.errors import ParentError, ParentFailed, ParentOffline, ParentThrottled
from connected_registry.parent.answer import (
    LONGEST_WAIT,
    Answer,
    name_request,
    refusal,
    retry_after,
    translated,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def answer(status: int, content: bytes = b"", **headers: str) -> Answer:
    """An answer to some request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = httpx.URL("https://parent.example/v2/")
    return Answer(name_request("GET", url), url, status, httpx.Headers(named), content)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 17 ", 17.0),
        ("99999999999", LONGEST_WAIT),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2099 12:00:00 GMT", LONGEST_WAIT),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Seconds and dates are understood and bounded; the rest is as if nothing was said."""
    headers = httpx.Headers([(b"Retry-After", text.encode())])
    assert retry_after(headers, NOW) == seconds


@given(st.text())
def test_retry_after_takes_anything(text: str) -> None:
    """No header makes it fail or wait for more than a day."""
    found = retry_after(httpx.Headers([(b"Retry-After", text.encode())]), NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT


@given(st.integers(300, 599), st.binary())
def test_every_refusal_is_one_printable_sentence(status: int, content: bytes) -> None:
    """Whatever the body holds, the error is of our tree and can be shown and logged."""
    error = refusal(answer(status, content), own=True)
    assert isinstance(error, ParentError)
    assert str(error).isprintable()


def test_an_overloaded_parent_that_names_a_time_throttles() -> None:
    """A 503 with Retry-After is the parent asking us to slow down."""
    error = refusal(answer(503, Retry_After="7"), own=True)
    assert isinstance(error, ParentThrottled)
    assert error.retry_after == 7


def test_a_request_is_named_without_its_secrets() -> None:
    """Neither the query nor a user name of an address is shown."""
    url = httpx.URL("https://ada:lace@storage.example:444/a/b?sig=secret")
    assert name_request("GET", url) == "GET storage.example:444/a/b"


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (httpx.ConnectTimeout("x"), ParentOffline),
        (TimeoutError(), ParentOffline),
        (httpx.ConnectError("x"), ParentOffline),
        (httpx.ReadError(""), ParentOffline),
        (httpx.ProxyError("x"), ParentOffline),
        (httpx.RemoteProtocolError("Server disconnected without sending"), ParentOffline),
        (httpx.RemoteProtocolError("illegal header line"), ParentFailed),
        (httpx.UnsupportedProtocol("x"), ParentFailed),
        (httpx.InvalidURL("x"), ParentFailed),
        (httpx.DecodingError("x"), ParentFailed),
        (httpx.StreamConsumed(), ParentFailed),
    ],
)
def test_library_errors_become_ours(raised: Exception, error: type[ParentError]) -> None:
    """Nothing of httpx's leaves this package."""
    with pytest.raises(error, match="GET x") as caught, translated("GET x"):
        raise raised
    assert type(caught.value) is error
