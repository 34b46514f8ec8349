"""Write what follows from the contract's models, or check it; see ``scripts/generate-docs``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from dtdl import interface
from schemas import desired_schema, methods_schema, reported_schema
from tables import TABLES

TOP = Path(__file__).parents[2]
BLOCK = re.compile(r"(?P<open><!-- table: (?P<name>[a-z]+) -->\n).*?(?P<close><!-- end -->)", re.S)


def generated() -> dict[Path, str]:
    """Every generated document by its path, relative to the top."""
    model = interface()
    documents: dict[str, Any] = {
        "docs/twin-desired.schema.json": desired_schema(),
        "docs/twin-reported.schema.json": reported_schema(),
        "docs/methods.schema.json": methods_schema(),
        "docs/dtdl/EdgeReplica.json": model,
    }
    found = {Path(path): _text(document) for path, document in documents.items()}
    for page in (TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))):
        if page.exists() and BLOCK.search(text := page.read_text(encoding="utf-8")):
            found[page.relative_to(TOP)] = BLOCK.sub(_filled, text)
    return found


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _filled(block: re.Match[str]) -> str:
    name = block["name"]
    if name not in TABLES:
        raise SystemExit(f"no table is called {name!r}; there are {', '.join(TABLES)}")
    return f"{block['open']}{TABLES[name]()}{block['close']}"


def main() -> int:
    """Write, or with ``--check`` compare."""
    stale = []
    for path, text in generated().items():
        file = TOP / path
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path))
        if "--check" not in sys.argv[1:]:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    word = "out of date" if "--check" in sys.argv[1:] else "written"
    for name in stale:
        print(f"{word}: {name}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
