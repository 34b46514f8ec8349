"""Options that many commands have, with the same name and meaning everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder [ACR_REGISTRY_DATA_VOLUME]."),
]
Twin = Annotated[
    Path | None,
    typer.Option("--twin", metavar="FILE", help="Desired properties, in the twin's own form."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
