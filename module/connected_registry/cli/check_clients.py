"""Checks of the certificate that clients see, and of container clients on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from connected_registry.app.certificates import PAIRS, Certificates
from connected_registry.cli.finding import Finding, ok, problem, skipped, warning
from connected_registry.errors import ConfigurationError
from connected_registry.settings import Settings

CERTIFICATE: Final = "certificate"
CLIENTS: Final = "clients"
SOON: Final = timedelta(days=14)


async def check_certificate(settings: Settings, clock: Callable[[], datetime]) -> Finding:
    """The folder's certificate can be used, fits its key and is valid for a while."""
    if settings.tls == "off":
        return skipped(CERTIFICATE, "TLS is off: clients speak plain HTTP")
    if settings.tls == "workload":
        return skipped(CERTIFICATE, "IoT Edge's workload API issues and renews it")
    folder = settings.certificates
    certificates = Certificates(settings.tls, folder, None, "localhost", clock=clock)
    names = ", ".join(" with ".join(pair) for pair in PAIRS)
    try:
        await certificates.open()
    except ConfigurationError as error:
        return problem(
            CERTIFICATE,
            f"{error.value}: {error.remedy}",
            f"put a PEM certificate chain and its key into {folder} ({names})",
        )
    known = certificates.tls.certificate
    if known is None or known.expires is None:
        half = [name for pair in PAIRS for name in pair if (folder / name).exists()]
        if half:
            return problem(
                CERTIFICATE,
                f"{folder} has {', '.join(half)} without its other half: plain HTTP is served",
                f"put both files there, readable for this user ({names})",
            )
        return skipped(CERTIFICATE, f"there is none in {folder}: plain HTTP is served")
    left = known.expires - clock()
    told = f"it expires on {known.expires:%Y-%m-%d}"
    if left <= timedelta():
        return problem(CERTIFICATE, f"{told}: clients refuse it", f"put a new one into {folder}")
    if left < SOON:
        return warning(CERTIFICATE, told, f"put a new one into {folder} before")
    return ok(CERTIFICATE, told)


def check_clients(root: Path, addresses: tuple[str, ...]) -> list[Finding]:
    """Configuration of containerd, Docker and podman below ``root`` that names this replica."""
    found = [
        *_hosts_files(root / "etc/containerd/certs.d", addresses),
        *_hosts_files(root / "etc/docker/certs.d", addresses),
        *_daemon_file(root / "etc/docker/daemon.json", addresses),
        *_registries_files(root / "etc/containers", addresses),
    ]
    return found or [
        skipped(
            CLIENTS,
            "no container client on this machine names this replica; `client-config` sets one up",
        )
    ]


def _hosts_files(folder: Path, addresses: tuple[str, ...]) -> list[Finding]:
    found: list[Finding] = []
    for path in sorted(folder.glob("*/hosts.toml")):
        text = _read(path)
        if text is None or not _names(text, addresses):
            continue
        capabilities = re.search(r"^\s*capabilities\s*=\s*(\[[^\]]*\])", text, re.MULTILINE)
        if capabilities is not None and '"resolve"' not in capabilities[1].replace("'", '"'):
            found.append(
                problem(
                    CLIENTS,
                    f"{path} lets the replica be asked for digests only, never for tags",
                    'write capabilities = ["pull", "resolve"]',
                )
            )
        else:
            found.append(ok(CLIENTS, f"{path} uses this replica for {path.parent.name}"))
    return found


def _daemon_file(path: Path, addresses: tuple[str, ...]) -> list[Finding]:
    text = _read(path)
    if text is None:
        return []
    try:
        document = json.loads(text)
    except ValueError as error:
        return [problem(CLIENTS, f"{path} is not JSON ({error})", "repair it: Docker needs it")]
    mirrors = document.get("registry-mirrors") if isinstance(document, dict) else None
    if not isinstance(mirrors, list) or not _names(" ".join(map(str, mirrors)), addresses):
        return []
    trusted = document.get("insecure-registries") or []
    for mirror in mirrors:
        host = str(mirror).partition("://")[2].rstrip("/")
        plain = str(mirror).startswith("http://") and not host.startswith("127.")
        if plain and _names(host, addresses) and host not in trusted:
            return [
                problem(
                    CLIENTS,
                    f"{path} names {mirror}, and Docker refuses plain HTTP",
                    f'add "insecure-registries": ["{host}"], or serve TLS',
                )
            ]
    return [ok(CLIENTS, f"{path} uses this replica for docker.io")]


def _registries_files(folder: Path, addresses: tuple[str, ...]) -> list[Finding]:
    files = [folder / "registries.conf", *sorted(folder.glob("registries.conf.d/*.conf"))]
    texts = {path: text for path in files if (text := _read(path)) is not None}
    return [
        ok(CLIENTS, f"{path} uses this replica")
        for path, text in texts.items()
        if _names(text, addresses)
    ]


def _names(text: str, addresses: tuple[str, ...]) -> bool:
    return any(
        re.search(rf"(?<![\w.-]){re.escape(address)}(?![\w:-])", text) for address in addresses
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None
