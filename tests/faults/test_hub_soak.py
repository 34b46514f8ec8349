"""Every fault of the hub one after the other, under traffic; the long form is scripts/soak-hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.faults import FAULTS
from hub.soak import soak

pytestmark = [
    pytest.mark.faults,
    # The SDK leaves the sockets of failed connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]


async def test_nothing_is_lost_under_any_fault(tmp_path: Path) -> None:
    """Events, reported and desired properties, methods and pulls all come out right."""
    result = await soak(tmp_path, 60, seed=20261123)

    assert result.problems == []
    assert result.faults.keys() == FAULTS.keys()
    assert result.events > 100
    assert result.methods_answered > 0


@pytest.mark.system
async def test_nothing_is_lost_with_a_broker_that_forgets(tmp_path: Path) -> None:
    """The same with mosquitto, killed and suspended, without persistence."""
    result = await soak(tmp_path, 15, seed=20261123, broker=True)

    assert result.problems == []
    assert result.faults["mosquitto killed"] > 0
