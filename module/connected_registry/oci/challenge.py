"""The WWW-Authenticate header, and the scopes that tokens are asked and granted for.

RFC 9110, section 11.6.1; Docker registry v2 authentication, "Token Scope".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from connected_registry.errors import NameInvalid

MAX_SCOPES: Final = 100
"""Most scopes of one request for a token."""

MAX_SCOPE: Final = 1024
"""Longest scope, in characters."""

MAX_HEADER: Final = 16_384
"""Longest challenge header read, in characters."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_PARAMETER = re.compile(rf"({_WORD})[ \t]*=[ \t]*(?:({_QUOTED})|({_WORD}))(?=[ \t]*(?:,|\Z))")
_SCHEME = re.compile(rf"({_WORD})(?=[ \t]+|,|\Z)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|\Z))")
_BLANK = re.compile(r"[ \t,]*")
_ESCAPE = re.compile(r"\\(.)")
_SCOPE = re.compile(
    r"(?P<type>[a-z0-9]+)(?:\((?P<class>[a-z0-9]+)\))?:(?P<name>.*):(?P<actions>.*)"
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge. Scheme and names of parameters are in lower case; a token68 has none."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As a header value; every parameter is quoted, as registry clients want them."""
        parameters = ",".join(f"{name}={_quote(value)}" for name, value in self.parameters.items())
        return f"{self.scheme.capitalize()} {parameters}".rstrip()


def _quote(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a challenge cannot carry control characters")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge of the given WWW-Authenticate headers, in order; nonsense ends a header."""
    return tuple(challenge for header in headers for challenge in _parse_header(header))


def _parse_header(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    if len(header) > MAX_HEADER:
        return found
    position = _skip(header, 0)
    while position < len(header):
        parameter = _PARAMETER.match(header, position) if found else None
        if parameter is not None:
            name, quoted, token = parameter.groups()
            value = token if quoted is None else _ESCAPE.sub(r"\1", quoted[1:-1])
            parameters = {name.lower(): value} | dict(found[-1].parameters)
            found[-1] = Challenge(found[-1].scheme, parameters)
            position = _skip(header, parameter.end())
            continue
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            break
        found.append(Challenge(scheme[1].lower()))
        position = _skip(header, scheme.end())
        if _PARAMETER.match(header, position) is None:
            token68 = _TOKEN68.match(header, position)
            if token68 is not None and header[scheme.end() : position].find(",") < 0:
                position = _skip(header, token68.end())
    return found


def _skip(header: str, position: int) -> int:
    blank = _BLANK.match(header, position)
    assert blank is not None
    return blank.end()


@dataclass(frozen=True, slots=True)
class TokenScope:
    """``type:name:action,action``: what a token is asked for. ``pull,push`` of a ``repository``.

    Names are not checked here: what no one has a right to is not granted whatever its name.
    """

    type: str
    name: str
    actions: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `NameInvalid` for what does not have the form.

        A name may hold colons, so the type is split off from the left and actions from the right.
        """
        found = _SCOPE.fullmatch(text) if len(text) <= MAX_SCOPE and text.isprintable() else None
        if found is None:
            raise NameInvalid(
                f"scope {text[:100]!r} does not have the form 'repository:<name>:pull,push'"
            )
        actions = dict.fromkeys(action for action in found["actions"].split(",") if action)
        return cls(found["type"], found["name"], tuple(actions))

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(self.actions)}"


def parse_scopes(values: Iterable[str]) -> tuple[TokenScope, ...]:
    """The scopes of repeated or space-separated ``scope`` parameters; actions of one name merge.

    Raises `NameInvalid` for a malformed one or more than `MAX_SCOPES`.
    """
    texts = [text for value in values for text in value.split(" ", MAX_SCOPES + 1) if text]
    if len(texts) > MAX_SCOPES:
        raise NameInvalid(f"more than {MAX_SCOPES} scopes were asked for; ask for fewer at once")
    merged: dict[tuple[str, str], TokenScope] = {}
    for text in texts:
        scope = TokenScope.parse(text)
        key = (scope.type, scope.name)
        before = merged[key].actions if key in merged else ()
        merged[key] = TokenScope(*key, tuple(dict.fromkeys(before + scope.actions)))
    return tuple(merged.values())


def format_scopes(scopes: Iterable[TokenScope]) -> str:
    """Scopes as one space-separated string."""
    return " ".join(map(str, scopes))
