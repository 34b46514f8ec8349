"""``python -m connected_registry``: the same as the ``connected-registry`` command."""

from __future__ import annotations

from connected_registry.cli.main import main

if __name__ == "__main__":
    main()
