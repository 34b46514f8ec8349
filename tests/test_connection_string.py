"""The original's connection string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.connection_string import ConnectionString, parse_host
from connected_registry.errors import ConfigurationError

FIELDS = {
    "ConnectedRegistryName": "Plant7",
    "SyncTokenName": "plant7",
    "SyncTokenPassword": "s3cr3t/+==",
    "ParentGatewayEndpoint": "acme.westeurope.data.azurecr.io",
    "ParentEndpointProtocol": "https",
}


def _text(**changes: str | None) -> str:
    fields = {**FIELDS, **changes}
    return ";".join(f"{key}={value}" for key, value in fields.items() if value is not None)


def _parse(text: str, **environ: str) -> ConnectionString:
    return ConnectionString.parse(text, environ)


def test_values_are_split_at_the_first_equals_sign() -> None:
    """Passwords keep every character after the first ``=``, also at their start."""
    assert _parse(_text()).token_password.get_secret_value() == "s3cr3t/+=="
    parsed = _parse(_text(SyncTokenPassword="=abc="))
    assert parsed.token_password.get_secret_value() == "=abc="


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("acme.westeurope.data.azurecr.io", "acme.azurecr.io"),
        ("ACME.westeurope.data.azurecr.io:443", "acme.azurecr.io"),
        ("acme-dev.chinaeast2.data.azurecr.cn", "acme-dev.azurecr.cn"),
        ("acme.azurecr.io", "acme.azurecr.io"),
        ("parent_edge:8000", "parent_edge:8000"),
        ("10.1.2.3:5000", "10.1.2.3:5000"),
        ("[fd00::1]:5000", "[fd00::1]:5000"),
    ],
)
def test_data_endpoints_become_login_servers(endpoint: str, host: str) -> None:
    """The cloud's data endpoint stands for its login server; other hosts stay as they are."""
    assert _parse(_text(ParentGatewayEndpoint=endpoint)).parent == host


def test_names_are_compared_without_case() -> None:
    """The registry's name comes out in lower case, and keys may be written in any."""
    text = _text().replace("ConnectedRegistryName", "connectedregistryNAME")
    assert _parse(text).registry_name == "plant7"


@pytest.mark.parametrize("wrap", ["'{}'", '"{}"', "\ufeff{}\r\n", "  {};  ", "{};;"])
def test_what_files_and_shells_add_is_trimmed(wrap: str) -> None:
    """Quotes, byte order marks, line ends and stray semicolons do no harm."""
    assert _parse(wrap.format(_text())) == _parse(_text())


@pytest.mark.parametrize("reference", ["$ABOVE:8000", "${ABOVE}:8000"])
def test_variables_are_expanded(reference: str) -> None:
    """``$NAME`` in a value is the environment's, as in nested IoT Edge deployments."""
    parsed = _parse(_text(ParentGatewayEndpoint=reference), ABOVE="upper-device")
    assert parsed.parent == "upper-device:8000"


def test_dollar_signs_in_passwords_are_kept() -> None:
    """A password is a reference only as a whole, and only to a variable that exists."""
    for password in ("$notset", "a$HOME", "$A$B"):
        parsed = _parse(_text(SyncTokenPassword=password), HOME="/root", A="1", B="2")
        assert parsed.token_password.get_secret_value() == password
    parsed = _parse(_text(SyncTokenPassword="$FROM_ENV"), FROM_ENV="deep")
    assert parsed.token_password.get_secret_value() == "deep"


def test_https_is_forced_towards_the_cloud() -> None:
    """http to a cloud registry becomes https and is warned of; to another host it stays."""
    cloud = _parse(_text(ParentEndpointProtocol="http"))
    assert (cloud.protocol, len(cloud.warnings)) == ("https", 1)
    site = _parse(_text(ParentEndpointProtocol="HTTP", ParentGatewayEndpoint="above:8000"))
    assert (site.protocol, site.warnings) == ("http", ())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ConnectedRegistryName": None}, "ConnectedRegistryName"),
        ({"SyncTokenName": ""}, "SyncTokenName"),
        ({"SyncTokenPassword": None}, "SyncTokenPassword"),
        ({"ParentGatewayEndpoint": None}, "ParentGatewayEndpoint"),
        ({"ParentGatewayEndpoint": "<parent gateway endpoint>"}, "placeholder"),
        ({"ParentGatewayEndpoint": "https://acme.azurecr.io"}, "ParentGatewayEndpoint"),
        ({"ParentGatewayEndpoint": "$MISSING:8000"}, "MISSING"),
        ({"ParentGatewayEndpoint": "host:99999"}, "port"),
        ({"ParentEndpointProtocol": "ftp"}, "ParentEndpointProtocol"),
    ],
)
def test_each_wrong_key_is_named(changes: dict[str, str | None], named: str) -> None:
    """The sentence names the key inside the connection string."""
    with pytest.raises(ConfigurationError, match=named):
        _parse(_text(**changes))


def test_managed_identities_are_refused() -> None:
    """A managed identity exists only in Azure, and mixing it with a token is told as such."""
    text = "ConnectedRegistryName=a;ManagedIdentityClientId=b;ParentGatewayEndpoint=c"
    with pytest.raises(ConfigurationError, match="SyncTokenName"):
        _parse(text)
    with pytest.raises(ConfigurationError, match="mixed"):
        _parse(_text() + ";ManagedIdentityClientId=b")


def test_unknown_keys_are_warned_of_and_double_ones_refused() -> None:
    """A key from the future does no harm; the same key twice has no meaning."""
    (warning,) = _parse(_text() + ";SyncTokenNam=x").warnings
    assert "SyncTokenName" in warning
    with pytest.raises(ConfigurationError, match="once"):
        _parse(_text() + ";synctokenname=x")


@given(st.text(max_size=200))
def test_any_text_that_is_not_whole_names_the_variable(text: str) -> None:
    """Whatever is given, the answer is a value or one sentence without the password."""
    with pytest.raises(ConfigurationError) as caught:
        _parse(f"SyncTokenPassword=hunter2;{text}")
    assert "ACR_REGISTRY_CONNECTION_STRING" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", ":80", "a b", "a..b", "a/b", "a:0", "-a", "a:", "ü"])
def test_what_is_no_host_is_refused(text: str) -> None:
    """Only host names and addresses with an optional port are hosts."""
    with pytest.raises(ConfigurationError, match=r"^KEY"):
        parse_host("KEY", text)
