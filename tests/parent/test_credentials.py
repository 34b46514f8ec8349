"""Credentials: what they say, and what they never show."""

from __future__ import annotations

import base64

import pytest
from pydantic import SecretStr

from connected_registry.errors import ConfigurationError
from connected_registry.parent.credentials import IDENTITY_TOKEN_USER, Credentials


def test_basic_is_utf8_and_keeps_colons_of_the_password() -> None:
    """The Authorization value decodes to name, colon and password."""
    value = Credentials("ada", SecretStr("pä:ss")).basic()
    assert base64.b64decode(value.removeprefix("Basic ")).decode() == "ada:pä:ss"


@pytest.mark.parametrize("username", ["a:b", "a\nb", "a\x00"])
def test_refuses_names_that_cannot_be_said(username: str) -> None:
    """A colon or a control character in a user name is a configuration error."""
    with pytest.raises(ConfigurationError, match="username"):
        Credentials(username, SecretStr("x"))


def test_refuses_an_empty_password() -> None:
    """A user without a password is a configuration error, not an anonymous one."""
    with pytest.raises(ConfigurationError, match="password"):
        Credentials("ada", SecretStr(""))


@pytest.mark.parametrize(
    ("username", "expected"), [("", True), (IDENTITY_TOKEN_USER, True), ("ada", False)]
)
def test_knows_identity_tokens(username: str, expected: bool) -> None:
    """No name, or Azure's null name, says that the password is a refresh token."""
    assert Credentials(username, SecretStr("x")).is_identity_token is expected


def test_never_shows_the_password() -> None:
    """The password is in no representation."""
    assert "lace" not in repr(Credentials("ada", SecretStr("lace")))
