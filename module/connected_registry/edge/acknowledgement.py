"""Answering desired properties one by one, in Plug and Play's form ``{value, ac, av, ad}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connected_registry.edge.patch import Document, twin_size, without_nulls
from connected_registry.edge.twin import Desired, strip
from connected_registry.errors import TwinInvalid

APPLIED: Final = 200
ACCEPTED: Final = 202
DEFAULT: Final = 203
REFUSED: Final = 400
CONFLICT: Final = 409
FAILED: Final = 500

MAX_VALUE: Final = 1024
"""Longest value repeated in an acknowledgement, as IoT Hub counts."""
_LONGEST_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one property where it is not simply applied: 202, 409 or 500."""

    code: int
    description: str


def property_names() -> tuple[str, ...]:
    """Every desired property, in the contract's order."""
    return tuple(info.alias or name for name, info in Desired.model_fields.items())


def acknowledge(
    document: Mapping[str, Any],
    desired: Desired,
    version: int | None,
    *,
    warnings: tuple[str, ...] = (),
    outcomes: Mapping[str, Outcome] | None = None,
) -> Document:
    """The acknowledgements of an accepted document, with ``lastDesiredVersion`` and ``-Status``.

    ``desired`` is what is in force now; ``outcomes`` names the properties that are not simply
    applied. An unknown ``version`` (None) leaves `lastDesiredVersion` out.
    """
    given = {key for key, value in strip(document).items() if value is not None}
    outcomes = outcomes or {}
    acknowledged: Document = {}
    for name in property_names():
        value, note = value_in_force(desired, name)
        if name in outcomes:
            code, text = outcomes[name].code, outcomes[name].description
        elif name in given:
            code, text = APPLIED, "applied"
        else:
            code, text = DEFAULT, "default"
        acknowledged[name] = _form(value, code, 0 if code == DEFAULT else version, text + note)
    worst = max((each.code for each in outcomes.values()), default=APPLIED)
    sentence = "; ".join(
        [*(f"{name}: {each.description}" for name, each in outcomes.items()), *warnings]
    )
    return {**acknowledged, **_verdict(worst, sentence or "applied", version)}


def refuse(error: TwinInvalid, in_force: Desired, version: int | None) -> Document:
    """The acknowledgement of a refused document: only the property at fault is answered.

    Everything else keeps the acknowledgement of the version that is in force.
    """
    verdict = _verdict(error.status, str(error), version)
    name = error.key.partition(".")[0].partition("[")[0]
    if name not in property_names():
        return verdict
    value, note = value_in_force(in_force, name)
    return {name: _form(value, error.status, version, f"{error}{note}"), **verdict}


def value_in_force(desired: Desired, name: str) -> tuple[Any, str]:
    """A property's value for an acknowledgement, and a note where it was cut.

    Hashes of passwords are left out: nobody needs them back.
    """
    dumped = desired.model_dump(
        mode="json",
        by_alias=True,
        include={field for field, info in Desired.model_fields.items() if info.alias == name},
    )
    value = without_nulls(dumped[name])
    if name == "clientTokens":
        for token in value:
            token.pop("passwords", None)
    total = _longest_list(value)
    count = len(total) if total is not None else 0
    while total and twin_size(value) > MAX_VALUE:
        del total[len(total) // 2 :]
    if total is not None and len(total) < count:
        return value, f"; {len(total)} of {count} items shown"
    return value, ""


def _longest_list(value: Any) -> list[Any] | None:
    """The list to cut: the value itself, or the longest one right below it."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list)]
        return max(lists, key=twin_size, default=None)
    return None


def _form(value: Any, code: int, version: int | None, text: str) -> Document:
    document: Document = {"ac": code, "av": version or 0, "ad": text[:_LONGEST_TEXT]}
    return document if value is None else {"value": value, **document}


def _verdict(code: int, description: str, version: int | None) -> Document:
    verdict: Document = {
        "lastDesiredStatus": {"code": code, "description": description[: 2 * _LONGEST_TEXT]}
    }
    return verdict if version is None else {"lastDesiredVersion": version, **verdict}
