"""Why a document is refused: the first wrong key, its value and what would be right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from connected_registry.connection_string import without_password
from connected_registry.log import redact

HIDDEN: Final = "(hidden)"
SECRET_KEYS: Final = frozenset(
    {
        "accesskey",
        "connectionstring",
        "credential",
        "credentials",
        "passwd",
        "password",
        "password1",
        "password2",
        "passwords",
        "hash",
        "sasurl",
        "secret",
        "synctokenpassword",
    }
)
"""Keys, in lower case, whose values never appear in a message."""

_HOST_KEYS: Final = frozenset({"loginserver", "sources"})
_LONGEST_VALUE: Final = 200
_REMEDIES: Final = {
    "missing": "must be given",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "extra_forbidden": "is not known here; leave it out",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """``key`` is the whole path, such as ``scope.repositories[1].semver``."""

    key: str
    value: object
    remedy: str

    @classmethod
    def of(cls, error: ValidationError, root: str) -> Self:
        """The first finding of pydantic; ``root`` names the document where it has no key.

        A key that is not known goes first: it is often the misspelt form of one that is missing.
        """
        found = error.errors(include_url=False)
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
        path = first["loc"]
        return cls(format_path(path, root), shown(path, first["input"]), _remedy(first))


def format_path(path: tuple[int | str, ...], root: str) -> str:
    """``("a", 1, "b")`` as ``a[1].b``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text[:_LONGEST_VALUE] or root


def shown(path: tuple[int | str, ...], value: Any) -> object:
    """What a message may repeat of ``value``: short texts, numbers, never what may be secret."""
    names = [step.lower() for step in path if isinstance(step, str)]
    if not SECRET_KEYS.isdisjoint(names) and names[-1] != "expiry":
        return HIDDEN
    if isinstance(value, dict):
        return "(object)"
    if isinstance(value, list | tuple):
        return "(list)"
    if isinstance(value, str):
        text = without_password(value) if names and names[-1] in _HOST_KEYS else redact(value)
        text = text.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return f"({type(value).__name__})"


def _remedy(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context.get("error", error["msg"]))
    template = _REMEDIES.get(error["type"])
    return template.format_map(context) if template is not None else error["msg"]
