"""Settings from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connected_registry.errors import ConfigurationError
from connected_registry.settings import PREFIX, Settings, settings_rows

CONNECTION = (
    "ConnectedRegistryName=Plant7;SyncTokenName=plant7;SyncTokenPassword=ab/+c==;"
    "ParentGatewayEndpoint=acme.westeurope.data.azurecr.io;ParentEndpointProtocol=https"
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {row.name.upper() for row in settings_rows()}
    for name in list(os.environ):
        if name.upper() in names or name.startswith(PREFIX):
            monkeypatch.delenv(name)


def test_defaults_are_those_of_the_original() -> None:
    """Without any variable the folders are the original's and nothing is synced."""
    settings = Settings.load()
    assert settings.data == Path("/var/acr/data")
    assert settings.certificates == Path("/var/acr/certs")
    assert str(settings.listen_address) == "0.0.0.0:8080"
    assert settings.metrics_address is None
    assert settings.parent is None
    assert settings.warnings == ()


def test_connection_string_names_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's one variable is enough to know the parent and its credentials."""
    monkeypatch.setenv("ACR_REGISTRY_CONNECTION_STRING", CONNECTION)
    parent = Settings.load().parent
    assert parent is not None
    assert (parent.host, parent.protocol, parent.username) == ("acme.azurecr.io", "https", "plant7")
    assert parent.password is not None
    assert parent.password.get_secret_value() == "ab/+c=="


def test_gateway_endpoint_overrides_the_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    """ACR_PARENT_GATEWAY_ENDPOINT replaces the endpoint and nothing else."""
    monkeypatch.setenv("ACR_REGISTRY_CONNECTION_STRING", CONNECTION)
    monkeypatch.setenv("ACR_PARENT_GATEWAY_ENDPOINT", "above:8000")
    parent = Settings.load().parent
    assert parent is not None
    assert (parent.host, parent.username) == ("above:8000", "plant7")


def test_gateway_endpoint_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override of nothing is a mistake and says what to use instead."""
    monkeypatch.setenv("ACR_PARENT_GATEWAY_ENDPOINT", "above:8000")
    with pytest.raises(ConfigurationError, match="CONNECTED_REGISTRY_PARENT"):
        Settings.load()


def test_own_variables_name_the_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A parent that is no Azure registry comes from variables of ours, the password from a file."""
    secret = tmp_path / "password"
    secret.write_text("pa ss\n")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT", "Registry.Example:5000")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_PROTOCOL", "http")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_USERNAME", "site")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_REALM_HOSTS", "auth.example, tokens.example:444")
    parent = Settings.load().parent
    assert parent is not None
    assert (parent.host, parent.protocol) == ("registry.example:5000", "http")
    assert parent.password is not None
    assert parent.password.get_secret_value() == "pa ss"
    assert parent.realm_hosts == ("auth.example", "tokens.example:444")


def test_cloud_parent_is_spoken_to_by_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """http to the cloud becomes https, with a warning, whichever variable asked for it."""
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT", "acme.azurecr.io")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_PROTOCOL", "http")
    settings = Settings.load()
    assert settings.parent is not None
    assert settings.parent.protocol == "https"
    assert any("https" in sentence for sentence in settings.warnings)


def test_overrides_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line says is taken before what the environment says; None is not said."""
    monkeypatch.setenv("CONNECTED_REGISTRY_LISTEN", "127.0.0.1:1")
    assert Settings.load(listen="127.0.0.1:2").listen == "127.0.0.1:2"
    assert Settings.load(listen=None).listen == "127.0.0.1:1"


def test_empty_variables_are_as_good_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment template that leaves a variable empty gets the default."""
    monkeypatch.setenv("CONNECTED_REGISTRY_LISTEN", "")
    monkeypatch.setenv("ACR_REGISTRY_CONNECTION_STRING", "")
    settings = Settings.load()
    assert settings.listen == "0.0.0.0:8080"
    assert settings.connection is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACR_REGISTRY_CONNECTION_STRING", "nonsense"),
        ("ACR_REGISTRY_LOGIN_SERVER", "https://host"),
        ("CONNECTED_REGISTRY_LISTEN", "8080"),
        ("CONNECTED_REGISTRY_LISTEN", "host:70000"),
        ("CONNECTED_REGISTRY_LISTEN", "::1:8080"),
        ("CONNECTED_REGISTRY_METRICS_LISTEN", "nine"),
        ("CONNECTED_REGISTRY_LOG_FORMAT", "json"),
        ("CONNECTED_REGISTRY_PARENT", "http://host"),
        ("CONNECTED_REGISTRY_PARENT_PROTOCOL", "ftp"),
        ("CONNECTED_REGISTRY_PARENT_USERNAME", "alone"),
        ("CONNECTED_REGISTRY_PROXY", "proxy"),
        ("CONNECTED_REGISTRY_PROXY", "http://host:port"),
        ("CONNECTED_REGISTRY_TRUSTED_PROXIES", "10.0.0.0/33"),
    ],
)
def test_wrong_values_name_their_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Every wrong value ends in one sentence that begins with the variable's name."""
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT", "host")
    if name == "ACR_REGISTRY_CONNECTION_STRING":
        monkeypatch.delenv("CONNECTED_REGISTRY_PARENT")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ("ACR_REGISTRY_CONNECTION_STRING", "CONNECTED_REGISTRY_PARENT"),
        ("CONNECTED_REGISTRY_PARENT_PASSWORD",),
        ("CONNECTED_REGISTRY_PARENT_PASSWORD", "CONNECTED_REGISTRY_PARENT_PASSWORD_FILE"),
    ],
)
def test_contradictions_are_refused(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """Two parents, two passwords, or a password without a user are no configuration."""
    for name in names:
        monkeypatch.setenv(name, CONNECTION if name.startswith("ACR") else "value")
    with pytest.raises(ConfigurationError):
        Settings.load()


def test_missing_password_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password file that is not there names its variable and the reason."""
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT", "host")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_USERNAME", "site")
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"PASSWORD_FILE.*No such file"):
        Settings.load()


def test_unknown_variables_of_ours_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is told with its neighbour, and does not stop the start."""
    monkeypatch.setenv("CONNECTED_REGISTRY_PARENT_USERNAM", "x")
    (warning,) = Settings.load().warnings
    assert "CONNECTED_REGISTRY_PARENT_USERNAME" in warning


def test_secrets_are_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither printing the settings nor an error about them shows a password."""
    monkeypatch.setenv("ACR_REGISTRY_CONNECTION_STRING", CONNECTION)
    monkeypatch.setenv("CONNECTED_REGISTRY_PROXY", "http://user:hunter2@proxy:1")
    settings = Settings.load()
    assert "ab/+c==" not in repr(settings) + repr(settings.parent) + repr(settings.connection)
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv("CONNECTED_REGISTRY_PROXY", "ftp://user:hunter2@proxy")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_hub_variables_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub's identity is read from keeps its names and values, secrets included."""
    monkeypatch.setenv("IOTEDGE_DEVICEID", "device")
    monkeypatch.setenv("EdgeHubConnectionString", "HostName=h;SharedAccessKey=k==")
    assert Settings.load().hub_environment == {
        "IOTEDGE_DEVICEID": "device",
        "EdgeHubConnectionString": "HostName=h;SharedAccessKey=k==",
    }


@pytest.mark.parametrize(
    ("text", "loopback"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False)],
)
def test_loopback_is_recognised(text: str, loopback: bool) -> None:
    """Whether only this machine can reach the endpoint decides what it may take for granted."""
    address = Settings.load(listen=text).listen_address
    assert address.is_loopback is loopback
    assert str(address) == text


def test_every_setting_is_documented() -> None:
    """Each variable is there once, with a meaning."""
    rows = settings_rows()
    assert len({row.name for row in rows}) == len(rows) == len(Settings.model_fields)
    assert all(row.meaning for row in rows)
