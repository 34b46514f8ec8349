"""Who may come in, by configuration and address."""

from __future__ import annotations

import pytest

from connected_registry.app.access import access_rules, refuse_unguarded
from connected_registry.connection_string import ListenAddress
from connected_registry.edge.twin import Desired
from connected_registry.errors import ConfigurationError

LOCAL = ListenAddress("127.0.0.1", 8080)
PUBLIC = ListenAddress("0.0.0.0", 8080)


def test_a_loopback_address_without_tokens_is_open() -> None:
    """Until tokens are configured, everyone on this machine may enter."""
    assert access_rules(Desired(), LOCAL).open


def test_anonymous_pull_closes_a_loopback_address_to_pushes() -> None:
    """Whoever configures access gets what was configured, and no more."""
    assert not access_rules(Desired(anonymous_pull=True), LOCAL).open


def test_another_address_is_never_open() -> None:
    """Without tokens nobody enters."""
    assert not access_rules(Desired(), PUBLIC).open


def test_serving_on_another_address_without_tokens_is_refused() -> None:
    """The sentence names the setting and both remedies."""
    with pytest.raises(ConfigurationError, match=r"LISTEN.*clientTokens or anonymousPull"):
        refuse_unguarded(Desired(), PUBLIC)


def test_anonymous_pull_is_enough_to_serve_anywhere() -> None:
    """It is an explicit decision."""
    refuse_unguarded(Desired(anonymous_pull=True), PUBLIC)
