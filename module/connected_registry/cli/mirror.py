"""How container clients are told to ask this replica first: files, and what to know about them.

Pure: what is written where is decided here, and written elsewhere. Every client goes on to the
upstream registry by itself when the replica does not answer or does not have the image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final

from connected_registry.connection_string import Protocol, parse_host
from connected_registry.errors import ConfigurationError

MARK: Final = "# Written by `connected-registry client-config`; run it again to change it."
DIAL: Final = "2s"
"""How long a client may take to find out that the replica is away."""

DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_SERVER: Final = "registry-1.docker.io"


class Client(StrEnum):
    """The clients that are known."""

    CONTAINERD = "containerd"
    DOCKER = "docker"
    PODMAN = "podman"
    K3S = "k3s"


@dataclass(frozen=True, slots=True)
class Mirror:
    """``registry`` (``host[:port]``) is to be asked before ``upstream`` (``host[:port]``)."""

    registry: str
    upstream: str
    protocol: Protocol = "https"
    ca_file: PurePosixPath | None = None

    @classmethod
    def parse(
        cls,
        registry: str,
        upstream: str,
        protocol: Protocol | None = None,
        ca_file: PurePosixPath | None = None,
    ) -> Mirror:
        """From a command line; the registry may have its protocol before it."""
        scheme, separator, rest = registry.partition("://")
        if separator:
            if scheme not in ("http", "https"):
                raise ConfigurationError("--registry", registry, "use http:// or https://")
            if protocol not in (None, scheme):
                raise ConfigurationError("--protocol", protocol, f"--registry says {scheme}")
            protocol = "http" if scheme == "http" else "https"
        host = parse_host("--registry", rest.rstrip("/") if separator else registry)
        mirrored = parse_host("--mirror-of", upstream)
        if mirrored in DOCKER_HUB:
            mirrored = "docker.io"
        if host == mirrored:
            raise ConfigurationError(
                "--mirror-of", upstream, "name the registry in the cloud, not this replica"
            )
        if ca_file is not None and not ca_file.is_absolute():
            raise ConfigurationError("--ca", str(ca_file), "give its absolute path on the client")
        if ca_file is not None and protocol == "http":
            raise ConfigurationError("--ca", str(ca_file), "plain HTTP has no certificates")
        return cls(host, mirrored, protocol or "https", ca_file)

    @property
    def url(self) -> str:
        """The replica's address."""
        return f"{self.protocol}://{self.registry}"

    @property
    def server(self) -> str:
        """Where the upstream registry really answers."""
        host = _HUB_SERVER if self.upstream == "docker.io" else self.upstream
        return f"https://{host}"


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file below the client's root; ``merge``: keys for a JSON file that may have others."""

    path: PurePosixPath
    content: str
    merge: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ClientSetup:
    """What makes a client use the mirror, and what a person has to know or do besides."""

    files: tuple[ClientFile, ...]
    notes: tuple[str, ...]


def set_up(client: Client, mirror: Mirror) -> ClientSetup:
    """The setup of one client."""
    made: ClientSetup = {
        Client.CONTAINERD: _containerd,
        Client.DOCKER: _docker,
        Client.PODMAN: _podman,
        Client.K3S: _k3s,
    }[client](mirror)
    return made


def _hosts_toml(mirror: Mirror) -> str:
    lines = [
        MARK,
        f"server = {_quoted(mirror.server)}",
        "",
        f"[host.{_quoted(mirror.url)}]",
        '  capabilities = ["pull", "resolve"]',
        f'  dial_timeout = "{DIAL}"',
    ]
    if mirror.ca_file is not None:
        lines.append(f"  ca = {_quoted(str(mirror.ca_file))}")
    return "\n".join(lines) + "\n"


def _containerd(mirror: Mirror) -> ClientSetup:
    path = PurePosixPath("etc/containerd/certs.d", mirror.upstream, "hosts.toml")
    return ClientSetup(
        (ClientFile(path, _hosts_toml(mirror)),),
        (
            (
                "No restart: the file is read at every pull. Kubernetes reads it only when "
                '/etc/containerd/config.toml has config_path = "/etc/containerd/certs.d" under '
                '[plugins."io.containerd.grpc.v1.cri".registry] (containerd 1.x) or '
                "[plugins.'io.containerd.cri.v1.images'.registry] (2.x); ctr takes "
                "--hosts-dir /etc/containerd/certs.d."
            ),
            (
                f"When the replica is away, containerd goes on to {mirror.server} after {DIAL}; "
                "releases before 2.1 may not know dial_timeout and then wait up to 30 s."
            ),
            _credentials(
                mirror,
                "containerd looks credentials up by the replica's own host name: pull secrets for "
                f"{mirror.upstream} are not sent to it",
                'add to the [host] section: [host."...".header] authorization = '
                '"Basic BASE64(name:password)"',
            ),
        ),
    )


def _docker(mirror: Mirror) -> ClientSetup:
    insecure = mirror.protocol == "http" and not _is_loopback(mirror.registry)
    merge: dict[str, Any] = {}
    files: list[ClientFile] = []
    notes: list[str] = []
    if mirror.upstream == "docker.io":
        merge["registry-mirrors"] = [mirror.url]
        notes.append(
            "Docker asks a registry-mirror for images of Docker Hub only, and for any error of it "
            "goes to the Hub; it has no dial time-out of its own."
        )
    else:
        files.append(
            ClientFile(
                PurePosixPath("etc/docker/certs.d", mirror.upstream, "hosts.toml"),
                _hosts_toml(mirror),
            )
        )
        notes.append(
            "Only recent Docker Engines with the containerd image store read hosts.toml; Docker's "
            "own image store can mirror docker.io and nothing else. There, name the replica in "
            f"the image: {mirror.registry}/NAME:TAG."
        )
    if insecure:
        merge["insecure-registries"] = [mirror.registry]
    if merge:
        text = json.dumps(merge, indent=2) + "\n"
        files.append(ClientFile(PurePosixPath("etc/docker/daemon.json"), text, merge))
        notes.append("Restart Docker: systemctl restart docker.")
    if mirror.ca_file is not None:
        notes.append(
            f"Copy {mirror.ca_file} to /etc/docker/certs.d/{mirror.registry}/ca.crt as well."
        )
    credentials = _credentials(
        mirror,
        "Docker does not send what `docker login` knows of the upstream to the replica",
        f"run `docker login {mirror.registry}`",
    )
    if mirror.upstream == "docker.io":
        credentials = (
            "Credentials: Docker's own image store answers any challenge of a mirror with the "
            "user's Docker Hub credentials: let the replica serve these clients without a token "
            "(scope map with anonymous pull), or use another client."
        )
    notes.append(credentials)
    return ClientSetup(tuple(files), tuple(notes))


def _podman(mirror: Mirror) -> ClientSetup:
    name = f"50-connected-registry-{mirror.upstream.replace(':', '-')}.conf"
    lines = [
        MARK,
        "[[registry]]",
        f"prefix = {_quoted(mirror.upstream)}",
        f"location = {_quoted(mirror.upstream)}",
        "",
        "[[registry.mirror]]",
        f"location = {_quoted(mirror.registry)}",
        f"insecure = {'true' if mirror.protocol == 'http' else 'false'}",
    ]
    notes = [
        (
            "Also for buildah, skopeo and CRI-O, which read the same folder; no restart (CRI-O: "
            "systemctl reload crio)."
        ),
        (
            "There is no dial time-out to set: a replica that refuses costs nothing, one whose "
            "host is gone costs up to half a minute before the upstream is asked."
        ),
        (
            "The first of mirror and upstream that has the manifest serves all blobs of that pull; "
            "the replica shows an image only when it is whole."
        ),
        _credentials(
            mirror,
            "credentials are looked up by the replica's own host name: what auth.json has for "
            f"{mirror.upstream} is not sent to it",
            f"run `podman login {mirror.registry}`",
        ),
    ]
    if mirror.ca_file is not None:
        notes.insert(
            1, f"Copy {mirror.ca_file} to /etc/containers/certs.d/{mirror.registry}/ca.crt."
        )
    path = PurePosixPath("etc/containers/registries.conf.d", name)
    return ClientSetup((ClientFile(path, "\n".join(lines) + "\n"),), tuple(notes))


def _k3s(mirror: Mirror) -> ClientSetup:
    lines = [
        MARK,
        "mirrors:",
        f"  {_quoted(mirror.upstream)}:",
        "    endpoint:",
        f"      - {_quoted(mirror.url)}",
    ]
    if mirror.ca_file is not None:
        lines += [
            "configs:",
            f"  {_quoted(mirror.registry)}:",
            "    tls:",
            f"      ca_file: {_quoted(str(mirror.ca_file))}",
        ]
    path = PurePosixPath("etc/rancher/k3s/registries.yaml")
    return ClientSetup(
        (ClientFile(path, "\n".join(lines) + "\n"),),
        (
            (
                "Restart k3s (systemctl restart k3s, on agents k3s-agent): it makes containerd's "
                "files from this one when it starts. It goes on to the upstream by itself unless "
                "it runs with --disable-default-registry-endpoint."
            ),
            (
                "registries.yaml has no dial time-out: containerd's 30 s count when the replica's "
                "host is gone."
            ),
            _credentials(
                mirror,
                f"pull secrets for {mirror.upstream} are not sent to the replica",
                f'add under configs: "{mirror.registry}": auth: with username and password',
            ),
        ),
    )


def _credentials(mirror: Mirror, fact: str, remedy: str) -> str:
    return (
        f"Credentials: {fact}. Without a token of the replica the client pulls anonymously, which "
        f"the replica must allow; to use a client token, {remedy}."
    )


def _is_loopback(registry: str) -> bool:
    return registry.startswith(("127.", "[::1]"))


def _quoted(text: str) -> str:
    """A string of TOML and YAML alike; hosts and paths need no more."""
    return json.dumps(text)
