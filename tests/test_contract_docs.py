"""Documents that are generated from the contract's models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from connected_registry.edge.acknowledgement import acknowledge
from connected_registry.edge.methods import METHODS
from connected_registry.edge.reported import (
    Certificate,
    ConnectionState,
    Facts,
    LoginServer,
    Missing,
    Progress,
    RepositoryStatus,
    StatusDetail,
    SyncStatus,
    Tls,
    bound,
)
from connected_registry.edge.twin import Desired
from connected_registry.policy.model import parse_moment

TOP = Path(__file__).parents[1]
GENERATOR = TOP / "scripts" / "contract_docs"


def _schema(name: str) -> dict[str, Any]:
    text = (TOP / "docs" / f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def _faults(schema: dict[str, Any], document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return [error.message for error in validator.iter_errors(document)]


def test_checked_in_documents_are_those_that_the_code_gives() -> None:
    """`scripts/generate-docs` would change nothing, neither a schema nor a table on a page."""
    done = subprocess.run(
        [sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


GOOD: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "Mirror", "sync": None},
    {"scope": {"repositories": [{"name": "a", "newest": 3, "semver": None}]}},
    {"sync": {"schedule": "0 3 * * *", "window": "PT4H", "byteBudget": {"bytes": 1}}},
    {"storage": {"quotaBytes": 1, "eviction": "leastRecentlyPulled"}, "unknown": 1},
    {"clientTokens": [{"name": "a", "scopeMap": "_repositories_pull", "passwords": []}]},
)
BAD: tuple[Any, ...] = (
    [],
    {"mode": "Other"},
    {"sync": {"concurrency": "3"}},
    {"sync": {"paused": 1}},
    {"scope": {"repositories": [{"tags": ["*"]}]}},
    {"scope": {"repositories": "a"}},
    {"storage": {"reserveBytes": -1}},
)


@pytest.mark.parametrize("document", GOOD)
def test_what_is_accepted_fits_the_schema(document: dict[str, Any]) -> None:
    """An editor with the schema does not mark what the replica takes."""
    Desired.parse(document)
    assert _faults(_schema("twin-desired"), document) == []


@pytest.mark.parametrize("document", BAD)
def test_wrong_shapes_do_not_fit_the_schema(document: Any) -> None:
    """Types, words and bounds that the replica refuses are marked by an editor too."""
    assert _faults(_schema("twin-desired"), document)


def test_what_is_reported_fits_the_schema() -> None:
    """A full report, with its acknowledgements and cut to size, is what the schema says."""
    now = parse_moment("2026-01-01T00:00:00Z")
    facts = Facts(
        connection_state=ConnectionState.SYNCING,
        version="1",
        missing=Missing(images=1, bytes=2),
        sync=SyncStatus(progress=Progress(phase="fetching"), last_sync_start_time=now),
        status_details=(
            StatusDetail(type="Disk", code="DiskError", description="full", timestamp=now),
        ),
        login_server=LoginServer(
            host="edge",
            tls=Tls(status="Enabled", certificate=Certificate(type="LocalDirectory", expires=now)),
        ),
        repositories=tuple(RepositoryStatus(name=f"team/app{n}") for n in range(2000)),
    )
    wanted = {"mode": "ReadWrite", "scope": {"repositories": [{"name": "a"}]}}
    document = bound(facts.document(acknowledge(wanted, Desired.parse(wanted)[0], 3)))
    assert document["repositoriesOmitted"]
    assert _faults(_schema("twin-reported"), document) == []
    assert _faults(_schema("twin-reported"), {**document, "inSync": "perhaps"})


def test_every_method_has_a_payload_schema() -> None:
    """Payloads that a method takes fit its schema, misspelt ones do not."""
    schema = _schema("methods")
    assert list(schema["properties"]) == list(METHODS)
    good = {"syncNow": {"repositories": ["a"]}, "checkImages": {"images": ["a:1"]}}
    assert _faults(schema, good) == []
    assert _faults(schema, {"syncNow": {"repository": "a"}})
    assert _faults(schema, {"getTaskStatus": {}})
