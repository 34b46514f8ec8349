"""Who may come in, from the configuration in force and where the endpoint listens."""

from __future__ import annotations

from connected_registry.connection_string import ListenAddress
from connected_registry.edge.twin import Desired
from connected_registry.endpoint.access import AccessRules
from connected_registry.errors import ConfigurationError


def access_rules(desired: Desired, listen: ListenAddress) -> AccessRules:
    """The rules of ``desired``; a loopback address without any is open to everyone."""
    configured = bool(desired.client_tokens) or desired.anonymous_pull
    return AccessRules(
        tokens=desired.client_tokens,
        scope_maps=desired.scope_maps,
        anonymous_pull=desired.anonymous_pull,
        open=not configured and listen.is_loopback,
    )


def refuse_unguarded(desired: Desired, listen: ListenAddress) -> None:
    """Raise `ConfigurationError` where the network would meet a door that nobody can pass."""
    if listen.is_loopback or desired.client_tokens or desired.anonymous_pull:
        return
    raise ConfigurationError(
        "CONNECTED_REGISTRY_LISTEN",
        str(listen),
        "nobody could log in there: set clientTokens or anonymousPull in the twin, or listen on "
        "127.0.0.1, which is open to this machine until tokens are configured",
    )
