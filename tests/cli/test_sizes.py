"""Sizes as people write them."""

from __future__ import annotations

import pytest

from connected_registry.cli.sizes import parse_size
from connected_registry.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("700M", 700_000_000), ("4g", 4 * 10**9), ("1 Ki", 1024), ("2GiB", 2**31)],
)
def test_units(text: str, size: int) -> None:
    """Thousands, or 1024s with an i; any case."""
    assert parse_size("--size", text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1X", "1i", "٣M"])
def test_nonsense(text: str) -> None:
    """The option is named."""
    with pytest.raises(ConfigurationError, match="--size"):
        parse_size("--size", text)
