"""Twin documents as JSON: how patches merge, what a patch between two states is, what fits.

Semantics and limits are IoT Hub's ("Understand and use device twins"): null deletes a key,
objects merge, arrays are replaced whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connected_registry.edge.refusal import format_path, shown
from connected_registry.errors import TwinInvalid

Document = dict[str, Any]

MAX_TWIN: Final = 32 * 1024
"""Size of the desired and of the reported properties, as `twin_size` counts it."""
MAX_DEPTH: Final = 10
MAX_KEY: Final = 1024
MAX_STRING: Final = 4096
MAX_INTEGER: Final = 2**52 - 1
MIN_INTEGER: Final = -(2**52)
MAX_VERSION: Final = 2**63 - 1

_FORBIDDEN = re.compile(r"[.$# \x00-\x1f\x7f-\x9f]")


def merge_patch(document: Mapping[str, Any], patch: Mapping[str, Any]) -> Document:
    """``document`` after ``patch``; neither is changed."""
    merged = dict(document)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            current = merged.get(key)
            merged[key] = merge_patch(current if isinstance(current, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def diff_reported(old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    """The smallest patch for which ``merge_patch(old, patch) == new``; no nulls in either.

    What is gone from ``new`` is a null in the patch, or the hub would keep it for ever.
    """
    patch: Document = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
            continue
        before = old[key]
        if same(before, value):
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            patch[key] = diff_reported(before, value)
        else:
            patch[key] = value
    return patch


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values, where true is not 1."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def without_nulls(value: Any) -> Any:
    """``value`` without null members: reported properties cannot hold them."""
    if isinstance(value, Mapping):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(each) for each in value if each is not None]
    return value


def twin_size(value: Any) -> int:
    """Bytes as IoT Hub counts them: keys and texts in UTF-8, 8 a number, 4 a boolean."""
    match value:
        case None | bool():
            return 4
        case int() | float():
            return 8
        case str():
            return len(value.encode("utf-8", "surrogatepass"))
        case Mapping():
            return sum(twin_size(key) + twin_size(each) for key, each in value.items())
        case list() | tuple():
            return sum(map(twin_size, value))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def check_limits(document: Mapping[str, Any], root: str = "desired") -> None:
    """Raise `TwinInvalid` for what no twin can hold: keys, depth, lengths, sizes."""
    for path, value in _walk((), document):
        _check_value(path, value, root)
    size = twin_size(document)
    if size > MAX_TWIN:
        largest = max(document, key=lambda key: twin_size(document[key]))
        raise TwinInvalid(
            largest,
            f"{twin_size(document[largest])} bytes",
            f"all {root} properties together may have {MAX_TWIN} bytes and these have {size}",
        )


def _check_value(path: tuple[int | str, ...], value: Any, root: str) -> None:
    def refuse(remedy: str) -> TwinInvalid:
        return TwinInvalid(format_path(path, root), shown(path, value), remedy)

    if len(path) > MAX_DEPTH:
        raise refuse(f"a twin may be {MAX_DEPTH} levels deep")
    step = path[-1] if path else 0
    if isinstance(step, str) and (
        not step or _FORBIDDEN.search(step) or len(step.encode("utf-8", "replace")) > MAX_KEY
    ):
        raise refuse("a key may not be empty or long, nor hold '.', '$', '#' or a space")
    if isinstance(step, int) and path and value is None:
        raise refuse("a list may not hold null")
    if isinstance(value, str):
        try:
            length = len(value.encode())
        except UnicodeEncodeError:
            raise refuse("a text must be valid Unicode") from None
        if length > MAX_STRING:
            raise refuse(f"a text may have {MAX_STRING} bytes")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise refuse("must be a finite number")
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and not MIN_INTEGER <= value <= MAX_INTEGER
    ):
        raise refuse(f"a whole number lies between {MIN_INTEGER} and {MAX_INTEGER}")


def _walk(path: tuple[int | str, ...], value: Any) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Every value below and with ``value``, parents first; stops below the deepest level."""
    yield path, value
    if len(path) > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _walk((*path, str(key)), each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _walk((*path, index), each)
