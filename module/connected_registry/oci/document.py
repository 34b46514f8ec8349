"""Strict reading of JSON documents that strangers wrote: bounded, unambiguous, never fatal."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final

from connected_registry.errors import ManifestInvalid

MAX_DEPTH: Final = 32
"""Deepest nesting of arrays and objects taken."""

_INT64 = range(-(2**63), 2**63)
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_TOO_DEEP = b"[" * (MAX_DEPTH + 1)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object in ``content``; everything else raises `ManifestInvalid` with a sentence.

    Refused beyond what JSON refuses: a byte order mark, other encodings than UTF-8, unpaired
    surrogates, one key twice, NaN and infinities, integers of more than 64 bits, deep nesting.
    """
    _check_depth(content)
    if content.startswith(b"\xef\xbb\xbf"):
        raise ManifestInvalid("the manifest starts with a byte order mark; JSON has none")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"the manifest is not UTF-8 at byte {error.start}") from None
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_int=_int64, parse_constant=_no_constant
        )
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ManifestInvalid(
            f"the manifest is not JSON: {error.msg.lower()} at character {error.pos}"
        ) from None
    except UnicodeEncodeError:
        raise ManifestInvalid("the manifest has half a surrogate pair in a string") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _check_depth(content: bytes) -> None:
    """Refuse deep nesting before the recursive parser meets it, in time linear to the size.

    Strings are cut out first; then each round removes the innermost pairs of brackets, all at once.
    """
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return
    skeleton = _STRINGS.sub(b"", content).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if _TOO_DEEP in skeleton:
            break
        shorter = skeleton.replace(b"[]", b"")
        if len(shorter) == len(skeleton):
            # what is left never closes, which the parser tells better unless it is deep as well
            return
        skeleton = shorter
    if b"[" in skeleton:
        raise ManifestInvalid(f"the manifest is nested deeper than {MAX_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ManifestInvalid(f"the manifest has the key {key[:100]!r} twice in one object")
    return found


def _int64(text: str) -> int:
    if len(text) > 20 or int(text) not in _INT64:
        raise ManifestInvalid(f"the manifest has an integer out of range: {text[:20]}...")
    return int(text)


def _no_constant(text: str) -> float:
    raise ManifestInvalid(f"the manifest has {text}, which is not a JSON number")
