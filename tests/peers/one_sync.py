"""One sync in a process of its own: ``python -m peers.one_sync FOLDER PARENT REPOSITORY``.

For tests that kill it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from peers.site import Site, rules


async def main(folder: str, parent: str, repository: str) -> None:
    """Sync a repository and print how it ended."""
    async with Site(Path(folder), parent, rules(repository)) as site:
        result = await site.sync()
        sys.stdout.write(f"{result.state.value}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
