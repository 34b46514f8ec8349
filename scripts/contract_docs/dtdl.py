"""The contract as a DTDL v3 interface ("Digital Twins Definition Language", version 3)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from connected_registry.edge.methods import METHODS
from connected_registry.edge.reported import DesiredStatus, Facts
from connected_registry.edge.telemetry import EVENTS
from connected_registry.edge.twin import MODEL_ID, Desired

Schema = dict[str, Any]

LONGEST_TEXT = 500
"""DTDL allows 512 characters."""
BOTH = {"sync", "parent"}
"""Desired and reported under one name: modelled as desired, the facts are in the JSON schema."""


def interface() -> Schema:
    """The interface whose id the module announces."""
    return {
        "@context": "dtmi:dtdl:context;3",
        "@id": MODEL_ID,
        "@type": "Interface",
        "displayName": "Connected registry",
        "description": "An edge replica of a container registry",
        "contents": [*_settings(), *_facts(), *_events(), *_commands()],
    }


def _settings() -> list[Schema]:
    schema = Desired.model_json_schema()
    contents = []
    for name, each in schema["properties"].items():
        content = {
            "@type": "Property",
            "name": name,
            "writable": True,
            **_described(each),
            "schema": _schema(each, schema.get("$defs", {})),
        }
        if name in BOTH:
            content["comment"] = (
                "The reported property also holds facts beside value, ac, av and ad;"
                " see twin-reported.schema.json"
            )
        contents.append(content)
    return contents


def _facts() -> list[Schema]:
    schema = Facts.model_json_schema(mode="serialization")
    status = DesiredStatus.model_json_schema()
    facts = [
        {
            "@type": "Property",
            "name": name,
            **_described(each),
            "schema": _schema(each, schema["$defs"]),
        }
        for name, each in schema["properties"].items()
        if name not in BOTH
    ]
    return [
        *facts,
        {"@type": "Property", "name": "repositoriesOmitted", "schema": "integer"},
        {"@type": "Property", "name": "lastDesiredVersion", "schema": "long"},
        {"@type": "Property", "name": "lastDesiredStatus", "schema": _schema(status, {})},
    ]


def _events() -> list[Schema]:
    contents = []
    for name, event in EVENTS.items():
        schema = event.model_json_schema(mode="serialization")
        contents.append(
            {
                "@type": "Telemetry",
                "name": name,
                "description": _sentence(event),
                "schema": _schema(schema, schema.get("$defs", {})),
            }
        )
    return contents


def _commands() -> list[Schema]:
    contents = []
    for method in METHODS.values():
        schema = method.payload.model_json_schema()
        contents.append(
            {
                "@type": "Command",
                "name": method.name,
                "description": f"{method.meaning[:1].upper()}{method.meaning[1:]}",
                "comment": f"Answers {method.answer}"[:LONGEST_TEXT],
                "request": {
                    "name": "payload",
                    "schema": _schema(schema, schema.get("$defs", {})),
                },
                "response": {
                    "name": "answer",
                    "schema": _object(
                        {
                            "schemaVersion": {"type": "string"},
                            "correlationId": {"type": "string"},
                            "error": {"type": "string"},
                        },
                        {},
                    ),
                },
            }
        )
    return contents


def _sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0][:LONGEST_TEXT]


def _described(schema: Schema) -> Schema:
    text = schema.get("description")
    return {"description": text[:LONGEST_TEXT]} if text else {}


def _schema(schema: Schema, definitions: Schema) -> Any:
    """A JSON schema as pydantic writes it, in DTDL's words."""
    if "$ref" in schema:
        return _schema(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        (one,) = (each for each in schema["anyOf"] if each != {"type": "null"})
        return _schema(one, definitions)
    if "allOf" in schema:
        (one,) = schema["allOf"]
        return _schema(one, definitions)
    if "const" in schema:
        return _enumeration([schema["const"]])
    if "enum" in schema:
        return _enumeration(schema["enum"])
    match schema["type"], schema.get("format"):
        case "string", "duration":
            return "duration"
        case "string", "date-time":
            return "dateTime"
        case "string", _:
            return "string"
        case "boolean", _:
            return "boolean"
        case "integer", _:
            return "long"
        case "number", _:
            return "double"
        case "array", _:
            return {
                "@type": "Array",
                "elementSchema": _schema(schema["items"], definitions),
            }
        case "object", _:
            return _object(schema["properties"], definitions)
    raise ValueError(f"no DTDL for {schema}")


def _object(properties: Schema, definitions: Schema) -> Schema:
    return {
        "@type": "Object",
        "fields": [
            {"name": name, **_described(each), "schema": _schema(each, definitions)}
            for name, each in properties.items()
        ],
    }


def _enumeration(words: list[str]) -> Schema:
    return {
        "@type": "Enum",
        "valueSchema": "string",
        "enumValues": [{"name": word, "enumValue": word} for word in words],
    }
