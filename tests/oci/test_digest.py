"""Digests: what is one, and what it says of content."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connected_registry.errors import DigestInvalid
from connected_registry.oci.digest import ENCODED, Digest

ALGORITHMS = st.sampled_from(sorted(ENCODED))


@given(st.binary(max_size=200), ALGORITHMS)
def test_content_matches_its_own_digest_only(content: bytes, algorithm: str) -> None:
    """A digest matches the content it was made of and nothing else."""
    digest = Digest.of(content, algorithm)
    assert digest.matches(content)
    assert not digest.matches(content + b"x")


@given(st.binary(max_size=200), ALGORITHMS)
def test_a_digest_is_text_that_parses_to_itself(content: bytes, algorithm: str) -> None:
    """Parsing the text of a digest gives an equal digest with the same parts."""
    digest = Digest.of(content, algorithm)
    parsed = Digest.parse(str(digest))
    assert parsed == digest == f"{parsed.algorithm}:{parsed.encoded}"
    assert parsed.algorithm == algorithm
    assert parsed.encoded == hashlib.new(algorithm, content).hexdigest()


@given(st.lists(st.binary(max_size=50), max_size=5), ALGORITHMS)
def test_a_running_hash_gives_the_digest_of_the_whole(chunks: list[bytes], algorithm: str) -> None:
    """Hashing in chunks comes to the same digest as hashing at once."""
    whole = Digest.of(b"".join(chunks), algorithm)
    running = whole.new_hash()
    for chunk in chunks:
        running.update(chunk)
    assert Digest.from_hash(running) == whole


@given(st.text(max_size=200))
@example("sha256:" + "A" * 64)
@example("sha256:" + "0" * 63)
@example("sha256:" + "0" * 65)
@example("sha256:" + "0" * 64 + "\n")
@example("sha256:" + "٠" * 64)
@example("sha512:" + "0" * 64)
@example("sha256:../../etc/passwd")
@example("md5:" + "0" * 32)
@example("sha256+b64u:" + "0" * 64)
@example("sha256:")
@example(":")
@example("sha256")
@example("")
def test_other_text_is_no_digest(text: str) -> None:
    """Text that is not exactly the form raises, naming at most 200 characters of itself."""
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert caught.value.status == 400
    assert caught.value.detail == {"digest": text[:200]}


@given(st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True))
def test_every_digest_is_safe_as_a_file_name(text: str) -> None:
    """What passes has nothing in it that a file system gives a meaning to."""
    digest = Digest.parse(text)
    assert set(digest.encoded) <= set("0123456789abcdef")


def test_a_digest_survives_copying() -> None:
    """Pickling keeps value and type."""
    digest = Digest.of(b"x")
    copied = pickle.loads(pickle.dumps(digest))
    assert (copied, type(copied)) == (digest, Digest)
