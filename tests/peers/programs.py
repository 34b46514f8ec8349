"""Programs that tests drive, such as skopeo: found, or the test is skipped.

Every test that needs a program of the system asks here, wherever it lives in the tree.
"""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(name: str) -> str:
    """The path of program ``name``; without it the test is skipped, and with CI=true it fails."""
    path = shutil.which(name)
    if path is not None:
        return path
    sentence = f"the program {name} is not installed"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
