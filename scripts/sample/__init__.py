"""The sample parent of ``scripts/run``: real images made here, so that no network is needed."""
