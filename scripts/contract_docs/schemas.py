"""JSON Schemas of the twin's two halves and of the direct methods' payloads."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from connected_registry.edge.acknowledgement import property_names
from connected_registry.edge.methods import METHODS
from connected_registry.edge.reported import Acknowledgement, DesiredStatus, Facts
from connected_registry.edge.twin import Desired

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def desired_schema() -> Schema:
    """What a deployment or a ``--twin`` file may set; null anywhere means the default."""
    schema = Desired.model_json_schema()
    for definition in (schema, *schema.get("$defs", {}).values()):
        _allow_null(definition)
    title = "Desired properties of the connected registry, contract 1.0"
    return {"$schema": DIALECT, "title": title, **_plain(schema)}


def _plain(schema: Any, drop: tuple[str, ...] = ("title",), *, names: bool = False) -> Any:
    """Without the titles that pydantic makes of every name; ``names``: keys are no keywords."""
    if isinstance(schema, list):
        return [_plain(each, drop) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _plain(each, drop, names=not names and key in {"properties", "$defs"})
        for key, each in schema.items()
        if names or key not in drop
    }


def _allow_null(schema: Schema) -> None:
    required = set(schema.get("required", ()))
    for name, each in schema.get("properties", {}).items():
        if name in required or {"type": "null"} in each.get("anyOf", ()):
            continue
        outer = {key: each.pop(key) for key in ("title", "description", "default") if key in each}
        schema["properties"][name] = {"anyOf": [each, {"type": "null"}], **outer}


def reported_schema() -> Schema:
    """What the replica says of itself: facts, and an answer to each desired property."""
    references, definitions = models_json_schema(
        [(model, "serialization") for model in (Facts, Acknowledgement, DesiredStatus)]
    )
    facts = definitions["$defs"].pop("Facts")
    answer = references[(Acknowledgement, "serialization")]
    properties: Schema = {}
    for name in property_names():
        fact = facts["properties"].pop(name, None)
        properties[name] = {"allOf": [fact, answer]} if fact else answer
    properties |= facts["properties"]
    properties |= {
        "lastDesiredVersion": {
            "type": "integer",
            "description": "the newest desired `$version` seen, accepted or not",
        },
        "lastDesiredStatus": references[(DesiredStatus, "serialization")],
        "repositoriesOmitted": {
            "type": "integer",
            "description": "how many repositories the size limit left out",
        },
    }
    _drop_nulls({"properties": properties, **definitions})
    return {
        "$schema": DIALECT,
        "title": "Reported properties of the connected registry, contract 1.0",
        "type": "object",
        "required": ["connectionState", "inSync", "version"],
        **_plain({"properties": properties, **definitions}, drop=("title", "default")),
    }


def _drop_nulls(schema: Schema) -> None:
    """What has no value is left out of the document, so null is never there."""
    for definition in (schema, *schema.get("$defs", {}).values()):
        optional = set()
        for name, each in definition.get("properties", {}).items():
            choices = [one for one in each.get("anyOf", ()) if one != {"type": "null"}]
            if len(choices) < len(each.get("anyOf", ())):
                (one,) = choices
                told = {key: each[key] for key in ("title", "description") if key in each}
                definition["properties"][name] = {**one, **told}
                optional.add(name)
        required = [name for name in definition.get("required", ()) if name not in optional]
        definition.pop("required", None)
        if required:
            definition["required"] = required


def methods_schema() -> Schema:
    """One payload a method, under its name."""
    payloads = {}
    definitions: Schema = {}
    for method in METHODS.values():
        schema = TypeAdapter(method.payload).json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        payloads[method.name] = {**schema, "description": method.meaning}
    return {
        "$schema": DIALECT,
        "title": "Payloads of the connected registry's direct methods, contract 1.0",
        "type": "object",
        **_plain({"properties": payloads, "$defs": definitions}),
        "additionalProperties": False,
    }
