"""The tables of the pages, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from connected_registry.edge.methods import METHODS
from connected_registry.edge.reported import Facts
from connected_registry.edge.telemetry import EVENTS
from connected_registry.edge.twin import Desired
from connected_registry.metrics import Metrics
from connected_registry.settings import settings_rows

Schema = dict[str, Any]


def settings() -> str:
    """Environment variables."""
    rows = ((f"`{row.name}`", _code(row.default), row.meaning) for row in settings_rows())
    return _table(("variable", "default", "meaning"), rows)


def desired() -> str:
    """Desired properties, nested ones by their path."""
    schema = Desired.model_json_schema()
    rows = _leaves("", schema, schema.get("$defs", {}))
    return _table(("property", "type", "default", "meaning"), rows)


def reported() -> str:
    """Reported facts, nested ones by their path."""
    schema = Facts.model_json_schema(mode="serialization")
    rows = ((name, kind, text) for name, kind, _, text in _leaves("", schema, schema["$defs"]))
    return _table(("property", "type", "meaning"), rows)


def methods() -> str:
    """Direct methods."""
    rows = []
    for method in METHODS.values():
        names = [
            info.alias or name
            for name, info in method.payload.model_fields.items()
            if name != "schema_version"
        ]
        needed = {
            info.alias or name
            for name, info in method.payload.model_fields.items()
            if info.is_required()
        }
        payload = ", ".join(name if name in needed else f"{name}?" for name in names)
        given = f"`{{{payload}}}`" if payload else ""
        rows.append((f"`{method.name}`", given, method.answer, method.meaning))
    return _table(("method", "payload", "answer", "meaning"), rows)


def events() -> str:
    """Telemetry."""
    rows = (
        (
            f"`{name}`",
            event.severity.value,
            (event.__doc__ or "").strip().splitlines()[0].rstrip("."),
        )
        for name, event in EVENTS.items()
    )
    return _table(("event", "severity", "meaning"), rows)


def metrics() -> str:
    """Prometheus metrics."""
    names = sorted(Metrics().names().items())
    return _table(("metric", "meaning"), ((f"`{name}`", text) for name, text in names))


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "desired": desired,
    "reported": reported,
    "methods": methods,
    "events": events,
    "metrics": metrics,
}


def _leaves(path: str, schema: Schema, definitions: Schema) -> Iterator[tuple[str, str, str, str]]:
    for name, each in schema["properties"].items():
        place = f"{path}.{name}" if path else name
        inner = _resolved(each, definitions)
        items = _resolved(inner["items"], definitions) if inner.get("type") == "array" else {}
        if "properties" in inner:
            yield from _leaves(place, inner, definitions)
        elif "properties" in items:
            yield from _leaves(f"{place}[]", items, definitions)
        else:
            text = each.get("description", "")
            default = _code(json.dumps(each["default"])) if "default" in each else ""
            yield f"`{place}`", _kind(inner, items), default, text


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    if "$ref" in schema:
        found: Schema = definitions[schema["$ref"].rpartition("/")[2]]
        return found
    if "anyOf" in schema:
        (one,) = (each for each in schema["anyOf"] if each != {"type": "null"})
        return _resolved(one, definitions)
    return schema


def _kind(schema: Schema, items: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(items, {})}"
    words = {
        "string": schema.get("format", "text"),
        "integer": "whole number",
        "boolean": "boolean",
    }
    return str(words.get(schema.get("type", ""), schema.get("const", "any")))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )
