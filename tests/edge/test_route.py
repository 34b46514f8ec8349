from __future__ import annotations

import pytest

from connected_registry.edge.route import HubProxy, HubRoute
from connected_registry.errors import ConfigurationError


def test_without_settings_the_route_is_straight() -> None:
    """MQTT on 8883, no proxy."""
    route = HubRoute.from_environment({})

    assert (route.websockets, route.proxy, route.port) == (False, None, 8883)


def test_websockets_use_the_port_of_https() -> None:
    """Where firewalls let nothing else through."""
    route = HubRoute.from_environment({"CONNECTED_REGISTRY_HUB_WEBSOCKETS": "true"})

    assert route.port == 443


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", ("HTTP", "proxy", 3128, None)),
        ("http://proxy", ("HTTP", "proxy", 8080, None)),
        ("socks5://me:p%40ss@10.0.0.1", ("SOCKS5", "10.0.0.1", 1080, "me")),
        ("socks4://[::1]:1081/", ("SOCKS4", "::1", 1081, None)),
    ],
)
def test_proxies_are_urls(text: str, proxy: tuple[object, ...]) -> None:
    """Kind, host, port and user are taken from them."""
    parsed = HubProxy.parse("KEY", text)

    assert (parsed.kind, parsed.host, parsed.port, parsed.user) == proxy


def test_a_proxy_password_is_decoded_and_not_shown() -> None:
    """Percent signs are for characters that a URL cannot hold."""
    parsed = HubProxy.parse("KEY", "socks5://me:p%40ss@host")

    assert parsed.password is not None
    assert parsed.password.get_secret_value() == "p@ss"
    assert "p@ss" not in repr(parsed)


@pytest.mark.parametrize(
    "text", ["proxy:3128", "https://proxy", "http://", "http://proxy:99999", "http://proxy/path"]
)
def test_other_proxies_are_refused_by_name(text: str) -> None:
    """The sentence names the variable and the form."""
    with pytest.raises(ConfigurationError, match="CONNECTED_REGISTRY_HUB_PROXY"):
        HubRoute.from_environment({"CONNECTED_REGISTRY_HUB_PROXY": text})


def test_a_refused_proxy_does_not_show_its_password() -> None:
    """Errors end in logs."""
    with pytest.raises(ConfigurationError) as raised:
        HubProxy.parse("KEY", "ftp://me:secret@host")

    assert "secret" not in str(raised.value)


def test_a_switch_that_is_neither_yes_nor_no_is_refused() -> None:
    """A misspelt value must not count as off."""
    with pytest.raises(ConfigurationError, match="CONNECTED_REGISTRY_HUB_WEBSOCKETS"):
        HubRoute.from_environment({"CONNECTED_REGISTRY_HUB_WEBSOCKETS": "maybe"})
