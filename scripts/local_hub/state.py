"""What a local hub keeps in its folder between two starts: its modules' keys and twins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from local_hub.access_key import AccessKey
from local_hub.module import Module
from local_hub.section import Section


class StateFile:
    """``modules.json``; written whole and moved into place."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "modules.json"

    def load(self, device: str, name: str, **options: Any) -> Module:
        """The module as it was saved, or a new one with a new key."""
        saved = self._read().get(f"{device}/{name}")
        if saved is None:
            return Module(device, name, AccessKey.new(), **options)
        return Module(
            device,
            name,
            AccessKey(saved["key"]),
            desired=Section(*saved["desired"]),
            reported=Section(*saved["reported"]),
            **options,
        )

    def save(self, modules: Iterable[Module]) -> None:
        """Keep these modules, and the others that were kept before."""
        document = self._read() | {
            module.path: {
                "key": module.key.text,
                "desired": [module.desired.values, module.desired.version],
                "reported": [module.reported.values, module.reported.version],
            }
            for module in modules
        }
        new = self._path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(document, indent=2))
        new.replace(self._path)

    def _read(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        return document
