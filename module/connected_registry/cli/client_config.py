"""``connected-registry client-config``: make container clients ask this replica first."""

from __future__ import annotations

import json as jsons
from pathlib import Path, PurePosixPath
from typing import Any

from connected_registry.cli.exits import Exit
from connected_registry.cli.mirror import MARK, Client, ClientFile, Mirror, set_up
from connected_registry.cli.output import print_error, print_json, print_line
from connected_registry.connection_string import Protocol
from connected_registry.errors import ConfigurationError, StorageError


def client_config(
    client: Client,
    registry: str,
    mirror_of: str,
    protocol: Protocol | None,
    ca_file: str | None,
    *,
    write: bool,
    root: Path,
    json: bool,
) -> Exit:
    """Print or write the setup. Raises `ConfigurationError` for a file that is another's."""
    mirror = Mirror.parse(
        registry,
        mirror_of,
        protocol,
        PurePosixPath(ca_file) if ca_file is not None else None,
    )
    setup = set_up(client, mirror)
    ready = [(root / file.path, _content(root / file.path, file)) for file in setup.files]
    if write:
        for path, content in ready:
            _write(path, content)
    if json:
        print_json(
            {
                "files": {str(path): content for path, content in ready},
                "written": write,
                "notes": list(setup.notes),
            }
        )
        return Exit.OK
    for path, content in ready:
        if write:
            print_line(f"wrote {path}")
        else:
            print_line(f"# {path}")
            print_line(content)
    for note in setup.notes:
        print_error(note) if write else print_line(f"# {note}")
    return Exit.OK


def _content(path: Path, file: ClientFile) -> str:
    """What the file is to hold, with what it holds already as far as that can stay."""
    try:
        known = path.read_text()
    except FileNotFoundError:
        return file.content
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "--root", str(path), f"the file that is there cannot be read: {error}"
        ) from None
    if file.merge is not None:
        return _merged(path, known, file.merge)
    if known != file.content and not known.startswith(MARK):
        raise ConfigurationError(
            "--root", str(path), "the file was made by someone else; merge by hand, or move it away"
        )
    return file.content


def _merged(path: Path, known: str, added: dict[str, Any]) -> str:
    try:
        document = jsons.loads(known) if known.strip() else {}
    except ValueError:
        document = None
    if not isinstance(document, dict) or any(
        not isinstance(document.get(key, []), list) for key in added
    ):
        raise ConfigurationError(
            "--root", str(path), "the file that is there is not as Docker reads it; repair it first"
        )
    for key, values in added.items():
        there = document.get(key, [])
        document[key] = [*there, *(value for value in values if value not in there)]
    return jsons.dumps(document, indent=2) + "\n"


def _write(path: Path, content: str) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        new.write_text(content)
        new.chmod(mode)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
