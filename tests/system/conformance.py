"""The OCI conformance suite: run against a registry, read, and written down as tables."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from peers.programs import require_program

VERSION = "v0.0.0-20260831232431-97274622c111"
PACKAGE = f"github.com/opencontainers/distribution-spec/conformance@{VERSION}"
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "conformance.md"

_CASES = {"passed": "passed", "skipped": "skipped", "failure": "failed", "error": "failed"}
_ORDER = ("Unknown", "Disabled", "Skip", "Pass", "FAIL", "Error")
_LINE = re.compile(r"  (?P<name>[A-Z][^:]*): (?P<status>[A-Za-z]+)")


@dataclass(frozen=True)
class Results:
    """What one run said: of each API, of each kind of data, and of each case."""

    apis: Mapping[str, str]
    data: Mapping[str, str]
    cases: Counter[str]
    output: str

    @property
    def imperfect(self) -> dict[str, str]:
        """APIs and data that did not simply pass."""
        return {
            name: status for name, status in {**self.apis, **self.data}.items() if status != "Pass"
        }

    def table(self, reasons: Mapping[str, str]) -> str:
        """As Markdown; ``reasons`` explain what did not pass."""
        counts = ", ".join(f"{self.cases[each]} {each}" for each in ("passed", "failed", "skipped"))
        lines = [f"Cases: {counts}.", "", "| | result | why |", "| --- | --- | --- |"]
        for title, part in (("API", self.apis), ("Data", self.data)):
            lines += [
                f"| {title}: {name} | {status} | {reasons.get(name, '')} |"
                for name, status in sorted(part.items())
            ]
        return "\n".join(lines)


def install_suite() -> Path:
    """The suite's program, built once for all; the test is skipped where there is no Go."""
    go = require_program("go")
    folder = ROOT / ".tools" / f"conformance-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "conformance"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            subprocess.run(
                [go, "install", PACKAGE],
                env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"},
                cwd=folder,
                check=True,
            )
    return program


def run_suite(program: Path, registry: str, folder: Path, **settings: str) -> Results:
    """Run it against ``host:port`` and read its results.

    It ends with 0 and no results where it could not even begin, so the file must be there.
    """
    reports = folder / "results"
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OCI_")}
    environment |= {
        "OCI_REGISTRY": registry,
        "OCI_TLS": "disabled",
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(reports),
        **settings,
    }
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [program], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert (reports / "results.yaml").exists(), f"the suite did not run: {output}"
    assert (reports / "junit.xml").exists(), f"the suite did not end: {output}"
    sections = _sections((reports / "results.yaml").read_text())
    cases = Counter(
        _CASES[case.get("status", "")] for case in ET.parse(reports / "junit.xml").iter("testcase")
    )
    return Results(sections["apis"], sections["data"], cases, output)


def merge(parts: Iterable[Results]) -> Results:
    """Several runs as one; what passed in any of them and failed in none has passed."""
    apis: dict[str, str] = {}
    data: dict[str, str] = {}
    cases: Counter[str] = Counter()
    output = ""
    for part in parts:
        for total, found in ((apis, part.apis), (data, part.data)):
            for name, status in found.items():
                total[name] = max(status, total.get(name, status), key=_ORDER.index)
        cases += part.cases
        output += part.output
    return Results(apis, data, cases, output)


def _sections(text: str) -> dict[str, dict[str, str]]:
    """The two maps at the top level of ``results.yaml`` that say what passed."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            current = found.setdefault(line.partition(":")[0], {})
        elif match := _LINE.fullmatch(line):
            current[match["name"]] = match["status"]
    return found


def written(section: str) -> str:
    """What the document says between the marks of a section."""
    return _split(section)[1]


def write(section: str, table: str) -> None:
    """Put a section's new table into the document."""
    before, _, after = _split(section)
    DOCUMENT.write_text(f"{before}{table}{after}")


def _split(section: str) -> tuple[str, str, str]:
    begin, end = f"<!-- begin {section} -->\n", f"\n<!-- end {section} -->"
    before, found, rest = DOCUMENT.read_text().partition(begin)
    assert found, f"{DOCUMENT} has no section {section}"
    inside, found, after = rest.partition(end)
    assert found, f"{DOCUMENT} has a section {section} without an end"
    return before + begin, inside, end + after
