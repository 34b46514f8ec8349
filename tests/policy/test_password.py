"""Hashes of passwords."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.policy.password import (
    MAX_PASSWORD,
    PasswordHash,
    check_hash,
    hash_password,
    verify_password,
)

SALT = base64.b64encode(b"saltsalt").decode()
KEY = base64.b64encode(bytes(32)).decode()


def cheap(plain: str) -> str:
    """A hash with the lowest cost taken, so that many can be tried."""
    key = hashlib.scrypt(plain.encode(), salt=b"saltsalt", n=2**10, r=1, p=1, dklen=32)
    return str(PasswordHash(10, 1, 1, b"saltsalt", key))


def test_a_password_verifies_against_its_hash() -> None:
    """A fresh hash takes its own password and no other, and is never the same twice."""
    made = hash_password("correct horse")
    assert check_hash(made) == made
    assert made.startswith("scrypt$14$8$5$")
    assert verify_password("correct horse", made)
    assert not verify_password("Correct horse", made)
    assert made != hash_password("correct horse")


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_only_the_same_password_verifies(plain: str, other: str) -> None:
    """Any text can be a password, and any other one is wrong."""
    made = cheap(plain.encode("utf-8", "replace").decode())
    same = plain.encode("utf-8", "replace").decode()
    assert verify_password(same, made)
    assert verify_password(other, made) is (other == same)


def test_a_hash_is_read_back_as_written() -> None:
    """Its parts survive."""
    parsed = PasswordHash.parse(f"scrypt$15$8$3${SALT}${KEY}")
    assert (parsed.ln, parsed.r, parsed.p, parsed.salt, parsed.key) == (
        15,
        8,
        3,
        b"saltsalt",
        bytes(32),
    )
    assert PasswordHash.parse(str(parsed)) == parsed


@pytest.mark.parametrize("costs", ["10$1$1", "16$8$1", "14$8$16", "17$4$4"])
def test_costs_up_to_the_bounds_are_taken(costs: str) -> None:
    """The least and the most that a hash may cost are both allowed."""
    assert check_hash(f"scrypt${costs}${SALT}${KEY}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2-in-plain",
        f"bcrypt$14$8$5${SALT}${KEY}",
        f"scrypt$14$8$5${SALT}",
        f"scrypt$14$8$5${SALT}${KEY}\n",
        f"scrypt$14$8$5$*${KEY}",
        f"scrypt$14$8$5$abc${KEY}",
        f"scrypt$14$8$5$c2FsdA==${KEY}",
        f"scrypt$14$8$5${SALT}${SALT}",
        f"scrypt$9$8$5${SALT}${KEY}",
        f"scrypt$20$8$1${SALT}${KEY}",
        f"scrypt$17$8$1${SALT}${KEY}",
        f"scrypt$14$8$17${SALT}${KEY}",
        f"scrypt$99$99$99${SALT}${KEY}",
        f"scrypt$014$8$5${SALT}${KEY}",
    ],
)
def test_other_texts_are_no_hash(text: str) -> None:
    """What is not our form, or would cost too much, is refused without repeating it."""
    with pytest.raises(ValueError, match="connected-registry token hash") as caught:
        check_hash(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("plain", ["", "x" * (MAX_PASSWORD + 1)])
def test_unusable_passwords_get_no_hash(plain: str) -> None:
    """An empty or endless password is refused."""
    with pytest.raises(ValueError, match="must have 1 to 1024 bytes"):
        hash_password(plain)


@pytest.mark.parametrize("plain", ["x" * (MAX_PASSWORD + 1), "\ud800", ""])
def test_odd_passwords_are_simply_wrong(plain: str) -> None:
    """What a client may send never breaks the verification."""
    assert not verify_password(plain, cheap("right"))
