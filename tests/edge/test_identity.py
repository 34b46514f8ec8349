from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connected_registry.edge.identity import KeyIdentity, WorkloadIdentity, find_identity
from connected_registry.errors import ConfigurationError, EdgeError
from local_hub.access_key import AccessKey
from local_hub.hub import LocalHub

KEY = AccessKey("c2VjcmV0IGtleSBvZiBhIG1vZHVsZQ==")
STRING = f"HostName=hub.example;DeviceId=edge #1;ModuleId=registry;SharedAccessKey={KEY.text}"
EDGE = {
    "IOTEDGE_WORKLOADURI": "unix:///run/workload.sock",
    "IOTEDGE_IOTHUBHOSTNAME": "hub.example",
    "IOTEDGE_GATEWAYHOSTNAME": "gateway",
    "IOTEDGE_DEVICEID": "edge1",
    "IOTEDGE_MODULEID": "registry",
    "IOTEDGE_MODULEGENERATIONID": "1",
    "IOTEDGE_APIVERSION": "2022-08-03",
}


def test_without_any_variable_the_replica_stands_alone() -> None:
    """No identity is no error."""
    assert find_identity({}) is None


def test_iot_edge_comes_first() -> None:
    """What edgeAgent sets is meant for this module."""
    identity = find_identity(EDGE | {"EdgeHubConnectionString": STRING})

    assert isinstance(identity, WorkloadIdentity)
    assert identity.server == "gateway"


def test_the_simulator_comes_before_our_own_string() -> None:
    """As the SDK does it, and ours is the last resort."""
    identity = find_identity(
        {
            "EdgeHubConnectionString": f"{STRING};GatewayHostName=edgehub",
            "CONNECTED_REGISTRY_HUB_CONNECTION_STRING": STRING,
        }
    )

    assert isinstance(identity, KeyIdentity)
    assert identity.server == "edgehub"


def test_a_plain_string_goes_to_the_hub_itself() -> None:
    """Without GatewayHostName there is no edgeHub in between, and the system's roots are used."""
    identity = find_identity({"CONNECTED_REGISTRY_HUB_CONNECTION_STRING": STRING})

    assert identity is not None
    assert (identity.server, identity.gateway, identity.device) == ("hub.example", None, "edge #1")


@pytest.mark.parametrize("name", sorted(EDGE.keys() - {"IOTEDGE_WORKLOADURI"}))
def test_half_an_iot_edge_environment_is_refused(name: str) -> None:
    """The variable that is missing is named."""
    with pytest.raises(ConfigurationError, match=name):
        find_identity({key: value for key, value in EDGE.items() if key != name})


@pytest.mark.parametrize(
    "uri", ["unix://", "unix:///", "/run/workload.sock", "ftp://host", "http://"]
)
def test_a_workload_address_of_another_form_is_refused(uri: str) -> None:
    """The sentence names the variable and both forms."""
    with pytest.raises(ConfigurationError, match=r"IOTEDGE_WORKLOADURI.*unix:///"):
        find_identity(EDGE | {"IOTEDGE_WORKLOADURI": uri})


@pytest.mark.parametrize("key", ["HostName", "DeviceId", "ModuleId", "SharedAccessKey"])
def test_a_missing_key_of_a_connection_string_is_named(key: str) -> None:
    """Also where the string is that of a device."""
    parts = [part for part in STRING.split(";") if not part.startswith(key)]

    with pytest.raises(ConfigurationError, match=f"EdgeHubConnectionString {key}"):
        find_identity({"EdgeHubConnectionString": ";".join(parts)})


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        f"{STRING};SharedAccessKeyName=owner",
        f"{STRING};HostName=other",
        STRING.replace(KEY.text, "not base64!"),
    ],
)
def test_a_wrong_connection_string_is_refused_without_showing_it(text: str) -> None:
    """The error names the variable and never its content."""
    with pytest.raises(ConfigurationError, match="EdgeHubConnectionString") as raised:
        find_identity({"EdgeHubConnectionString": text})

    assert KEY.text not in str(raised.value)
    assert "not base64!" not in str(raised.value)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_file_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    """At start, where the sentence is seen, and not with the first connection."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigurationError, match="EdgeModuleCACertificateFile"):
        find_identity({"EdgeHubConnectionString": STRING, "EdgeModuleCACertificateFile": str(path)})


def test_keys_are_not_part_of_the_representation() -> None:
    """Objects end in tracebacks."""
    assert KEY.text not in repr(KeyIdentity.parse("KEY", STRING))


async def test_a_key_signs_tokens_that_the_hub_takes() -> None:
    """The audience is the module, also with characters that a URL cannot hold."""
    identity = KeyIdentity.parse("KEY", STRING)
    token = await identity.token(datetime(2030, 1, 1, tzinfo=UTC))

    expires = KEY.check(
        token.text.get_secret_value(), "hub.example/devices/edge #1/modules/registry", 0
    )
    assert expires == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


async def test_the_workload_api_signs_tokens_that_the_hub_takes(tmp_path: Path) -> None:
    """The key itself never leaves the daemon."""
    async with LocalHub(tmp_path) as hub:
        module = hub.add_module("edge1", "registry")
        identity = find_identity(hub.edge_environment(module))
        assert identity is not None
        token = await identity.token(datetime(2030, 1, 1, tzinfo=UTC))

        resource = f"{identity.hub}/devices/edge1/modules/registry"
        assert module.key.check(token.text.get_secret_value(), resource, 0)
        assert await identity.trusted_ca() == hub.authority.certificate


async def test_a_certificate_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """A renewed authority counts from the next session; one that is gone is an error to retry."""
    hub = LocalHub(tmp_path)
    path = tmp_path / "copy.pem"
    path.write_text(hub.authority.certificate)
    identity = find_identity(
        {"EdgeHubConnectionString": STRING, "EdgeModuleCACertificateFile": str(path)}
    )
    assert identity is not None
    path.write_text("renewed")

    assert await identity.trusted_ca() == "renewed"
    path.unlink()
    with pytest.raises(EdgeError, match=r"copy\.pem cannot be read"):
        await identity.trusted_ca()
