"""Strict reading of JSON from strangers."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connected_registry.errors import ManifestInvalid
from connected_registry.oci.document import MAX_DEPTH, parse_object

INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=6)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 0, 3]))
def test_ordinary_json_means_what_it_says(
    document: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    """Whatever a JSON writer makes of an object is read back as that object."""
    content = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_object(content) == document


@given(st.binary(max_size=100))
@example(b'{"a":"\\ud800"}')
@example(b'{"\\udc00":1}')
@example(b'["' + b"\\" * 101)
def test_no_bytes_break_the_parser(content: bytes) -> None:
    """Any bytes give an object or the one error."""
    try:
        assert isinstance(parse_object(content), dict)
    except ManifestInvalid as error:
        assert len(error.text) < 300  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not JSON: expecting value"),
        (b"null", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b"{", "not JSON"),
        (b"{}{}", "not JSON: extra data at character 2"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":"\\ud800"}', "half a surrogate pair"),
        (b'{"a":{"\\udfff":1}}', "half a surrogate pair"),
        (b'{"a":1,"a":1}', "key 'a' twice"),
        (b'{"x":[{"layers":[],"b":1,"layers":[]}]}', "key 'layers' twice"),
        (b'{"\\u0061":1,"a":2}', "key 'a' twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":[-Infinity]}', "-Infinity"),
        (b'{"a":9223372036854775808}', "integer out of range"),
        (b'{"a":-9223372036854775809}', "integer out of range"),
        (b'{"a":' + b"1" * 5000 + b"}", "integer out of range"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":"\x01"}', "not JSON"),
    ],
)
def test_doubtful_json_is_refused_with_the_reason(content: bytes, sentence: str) -> None:
    """What two parsers could read differently, or one could die of, is refused by name."""
    with pytest.raises(ManifestInvalid, match=sentence):
        parse_object(content)


def test_escaped_characters_beyond_the_first_plane_are_whole() -> None:
    """A proper surrogate pair is one character."""
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "😀"}


@given(st.lists(st.booleans(), min_size=1, max_size=60))
@example([True] * MAX_DEPTH)
@example([True] * (MAX_DEPTH + 1))
def test_depth_is_bounded_exactly(objects: list[bool]) -> None:
    """The deepest nesting allowed is read and one level more refused; text does not count."""
    value: object = '[[[{{{\\"[[['
    for is_object in objects[1:]:
        value = {"[": value, "]": []} if is_object else [value, '"', "["]
    # the value beside the innermost one is a level deeper than its place
    content = json.dumps({"a": value, "b": ["["] * 40}).encode()
    depth = _depth({"a": value, "b": []})
    if depth <= MAX_DEPTH:
        assert parse_object(content)["a"] == value
    else:
        with pytest.raises(ManifestInvalid, match="nested deeper than 32"):
            parse_object(content)


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    nested = isinstance(value, dict | list)
    return int(nested) + max((_depth(item) for item in inner), default=0)


def nested(depth: int) -> list[object]:
    """Lists in lists, ``depth`` of them."""
    return [nested(depth - 1)] if depth > 1 else []


def beside(depth: int, sibling: int) -> list[object]:
    """Lists in lists, each with a neighbour that is itself ``sibling`` deep."""
    return [nested(sibling), beside(depth - 1, sibling)] if depth > 1 else []


@pytest.mark.parametrize("value", [nested(31), beside(31, 1), beside(12, 20), [nested(30)] * 50])
def test_what_is_just_not_too_deep_is_read(value: object) -> None:
    """Thirty-two levels are read, however broad they are."""
    assert parse_object(json.dumps({"a": value}).encode()) == {"a": value}


@pytest.mark.parametrize("value", [nested(32), beside(32, 1), beside(40, 20), [nested(31)] * 50])
def test_depth_is_found_among_neighbours(value: object) -> None:
    """One level too many is found however many shallow or deep neighbours it has."""
    with pytest.raises(ManifestInvalid, match="nested deeper than 32"):
        parse_object(json.dumps({"a": value}).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[[]," * 100_000,
        b'["\\"",' * 100_000,
    ],
)
def test_hostile_nesting_never_reaches_the_recursive_parser(content: bytes) -> None:
    """A hundred thousand brackets are refused as too deep, closed or not."""
    with pytest.raises(ManifestInvalid, match="nested deeper"):
        parse_object(content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":"' + b'\\"' * 1_000_000,
        b'{"a":"' + b"\\\\" * 1_000_000,
        b'{"a":["' + b"[" * 1_000_000,
        b"{" + b'"' * 1_000_001,
        b"[]" * 1_000_000,
        b"]" * 1_000_000,
        b"][" * 1_000_000,
    ],
)
def test_large_nonsense_is_refused_in_linear_time(content: bytes) -> None:
    """Megabytes that would make a careless pattern backtrack are refused like any other."""
    with pytest.raises(ManifestInvalid):
        parse_object(content)
