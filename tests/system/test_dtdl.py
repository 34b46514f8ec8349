"""The DTDL interface, read by Microsoft's own parser."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from connected_registry.edge.acknowledgement import property_names
from connected_registry.edge.methods import METHODS
from connected_registry.edge.telemetry import EVENTS
from connected_registry.edge.twin import MODEL_ID
from peers.programs import require_program

pytestmark = pytest.mark.system

TOP = Path(__file__).parents[2]
PARSER = "@digicatapult/dtdl-parser"
VERSION = "1.1.83"


@pytest.fixture(scope="module")
def parser() -> Path:
    """The parser's folder, installed by npm where it is not there."""
    npm = require_program("npm")
    prefix = TOP / ".tools" / "npm"
    folder = prefix / "node_modules" / PARSER
    if not (folder / "package.json").exists():
        prefix.mkdir(parents=True, exist_ok=True)
        arguments = ["install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(prefix)]
        done = subprocess.run(
            [npm, *arguments, f"{PARSER}@{VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0 and os.environ.get("CI", "").lower() != "true":
            pytest.skip(f"{PARSER} cannot be installed: {done.stderr.strip()[-200:]}")
        assert done.returncode == 0, done.stderr
    return folder


def _parse(parser: Path, file: Path) -> dict[str, Any]:
    node = require_program("node")
    script = Path(__file__).with_name("dtdl.mjs")
    done = subprocess.run(
        [node, str(script), str(parser), str(file)], capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_interface_is_valid_and_whole(parser: Path) -> None:
    """The parser takes it, under the id that is announced, with everything of the contract."""
    answer = _parse(parser, TOP / "docs" / "dtdl" / "EdgeReplica.json")
    assert "error" not in answer
    (interface,) = answer["interfaces"]
    assert interface["id"] == MODEL_ID
    assert {*property_names(), *METHODS, *EVENTS} < set(interface["contents"])


def test_the_parser_finds_faults(parser: Path, tmp_path: Path) -> None:
    """A term that DTDL does not have is refused, so that being taken means something."""
    model = json.loads((TOP / "docs" / "dtdl" / "EdgeReplica.json").read_text(encoding="utf-8"))
    model["contents"][0]["schema"] = "text"
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(model), encoding="utf-8")
    assert "text" in _parse(parser, wrong)["error"]
