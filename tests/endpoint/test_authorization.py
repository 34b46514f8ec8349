from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.endpoint.authorization import (
    Basic,
    Bearer,
    authorization_header,
    parse_authorization,
)
from connected_registry.errors import RequestInvalid, Unauthorized


def encoded(text: str) -> bytes:
    """The credentials part of a Basic header."""
    return base64.b64encode(text.encode())


@given(st.text().filter(lambda text: ":" not in text), st.text())
def test_basic_credentials_are_read_back(username: str, password: str) -> None:
    """The first colon parts the two, whatever characters they have."""
    value = b"Basic " + encoded(f"{username}:{password}")

    assert parse_authorization(value) == Basic(username, password)


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"Bearer  "])
def test_schemes_are_taken_in_any_case(scheme: bytes) -> None:
    """RFC 9110 says so."""
    assert parse_authorization(scheme + b" abc.def") == Bearer("abc.def")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !!!!",
        b"Basic " + base64.b64encode(b"no colon"),
        b"Basic " + base64.b64encode(b"\xff\xfe:x"),
        b"Basic " + b"A" * 1_000_000,
        b"Bearer",
        b"Bearer ",
        b"Bearer two words",
        b"Bearer \xc3\xa9",
        b"Negotiate abc",
        b"\x00",
    ],
)
def test_malformed_credentials_are_no_credentials(value: bytes) -> None:
    """Each is refused as unauthorised, never guessed at."""
    with pytest.raises(Unauthorized):
        parse_authorization(value)


@given(st.binary(max_size=100))
def test_any_bytes_are_credentials_or_refused(value: bytes) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(Unauthorized):
        parse_authorization(value)


def test_two_headers_are_refused() -> None:
    """Which of them counts must not depend on who reads them."""
    with pytest.raises(RequestInvalid):
        authorization_header([(b"authorization", b"a"), (b"authorization", b"b")])


def test_passwords_and_tokens_are_not_shown() -> None:
    """Nor by accident in a log."""
    assert "secret" not in repr(Basic("user", "secret")) + repr(Bearer("secret"))
