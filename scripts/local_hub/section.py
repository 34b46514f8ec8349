"""One half of a twin, desired or reported, under the rules that IoT Hub and edgeHub apply."""

from __future__ import annotations

import copy
from typing import Any, Final

Document = dict[str, Any]

MAX_SECTION: Final = 32 * 1024
"""Bytes of keys and values together; a number counts 8, a boolean 4."""
MAX_TEXT: Final = 4096
MAX_KEY: Final = 1024
MAX_DEPTH: Final = 10
MAX_INTEGER: Final = 2**52 - 1


class SectionError(ValueError):
    """A patch that the hub refuses with 400; the text says which rule it breaks."""


class Section:
    """Values with a version that counts every accepted change."""

    def __init__(self, values: Document | None = None, version: int = 1) -> None:
        self.values: Document = values or {}
        self.version = version

    def patch(self, patch: object) -> None:
        """Merge ``patch``: objects merge, null removes, all else replaces. Whole or not at all."""
        self._accept(lambda: merged(self.values, _checked(patch)))

    def replace(self, values: object) -> None:
        """Put ``values`` in the place of what was there."""
        self._accept(lambda: merged({}, _checked(values)))

    def document(self) -> Document:
        """The values with their ``$version``, as the hub sends them."""
        return {**copy.deepcopy(self.values), "$version": self.version}

    def _accept(self, change: Any) -> None:
        values = change()
        if size_of(values) > MAX_SECTION:
            raise SectionError(f"the section would be larger than {MAX_SECTION} bytes")
        self.values = values
        self.version += 1


def merged(values: Document, patch: Document) -> Document:
    """A new document: ``values`` with ``patch`` laid over it."""
    result = copy.deepcopy(values)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            old = result.get(key)
            result[key] = merged(old if isinstance(old, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def size_of(value: object) -> int:
    """What a value counts towards `MAX_SECTION`."""
    match value:
        case dict():
            return sum(len(key.encode()) + size_of(item) for key, item in value.items())
        case list():
            return sum(size_of(item) for item in value)
        case str():
            return len(value.encode())
        case bool():
            return 4
        case int() | float():
            return 8
        case _:
            return 0


def _checked(document: object) -> Document:
    if not isinstance(document, dict):
        raise SectionError("properties must be an object")
    _check(document, depth=0, in_array=False)
    return document


def _check(value: object, depth: int, in_array: bool) -> None:
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        raise SectionError(f"nested deeper than {MAX_DEPTH} levels")
    match value:
        case dict():
            for key, item in value.items():
                _check_key(key)
                _check(item, depth + 1, in_array)
        case list():
            for item in value:
                _check(item, depth + 1, in_array=True)
        case None if in_array:
            raise SectionError("null inside an array")
        case bool():
            pass
        case int() if abs(value) > MAX_INTEGER:
            raise SectionError(f"integer {value} is out of range")
        case str() if len(value.encode()) > MAX_TEXT:
            raise SectionError(f"a text is longer than {MAX_TEXT} bytes")


def _check_key(key: str) -> None:
    if len(key.encode()) > MAX_KEY:
        raise SectionError(f"a key is longer than {MAX_KEY} bytes")
    for character in key:
        if character in ".$#" or character.isspace() or not character.isprintable():
            raise SectionError(f"key {key!r} has the reserved character {character!r}")
