"""``connected-registry doctor``: look at everything that a site needs, and name each remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from connected_registry.app.link import ParentChoice
from connected_registry.app.replica import DESIRED
from connected_registry.cli import check_clients, check_folder, check_network
from connected_registry.cli.connection import connect_socket
from connected_registry.cli.exits import Exit
from connected_registry.cli.finding import Finding, State, ok, problem, skipped, warning
from connected_registry.cli.output import print_json, print_line, print_table
from connected_registry.edge.standalone import read_document
from connected_registry.edge.twin import Desired
from connected_registry.errors import ConfigurationError, ReplicaError, StorageError
from connected_registry.settings import Settings
from connected_registry.storage.peek import peek

SETTINGS: Final = "settings"
TWIN: Final = "twin"


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at: the settings, the configuration in force, and the machine below."""

    settings: Settings
    desired: Desired
    root: Path
    clock: Callable[[], datetime]


def doctor(data: Path | None, twin: Path | None, root: Path, *, json: bool) -> Exit:
    """Print what was found; exit code 1 with a problem among it."""
    findings = asyncio.run(examine(data, twin, root))
    if json:
        print_json({"findings": [each.to_json() for each in findings]})
    else:
        print_table(
            ("CHECK", "STATE", "FOUND"), [(each.check, each.state, each.text) for each in findings]
        )
        for each in findings:
            if each.remedy:
                print_line(f"{each.check}: {each.remedy}")
    return Exit.NO if any(each.state is State.PROBLEM for each in findings) else Exit.OK


async def examine(
    data: Path | None,
    twin: Path | None,
    root: Path,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Finding]:
    """Every check in order; each runs whatever the others found."""
    try:
        given = {"data": data, "twin": twin}
        settings = Settings.load(**{key: value for key, value in given.items() if value})
    except ConfigurationError as error:
        return [problem(SETTINGS, str(error), "correct the variable or option, then look again")]
    found = [warning(SETTINGS, text, "correct or remove it") for text in settings.warnings]
    found += [] if found else [ok(SETTINGS, "the environment can be read")]
    desired, told = _configuration(settings)
    patient = Patient(settings, desired, root, clock)
    return [*found, *told, *await _folder(patient), *await _network(patient), *await _site(patient)]


def _configuration(settings: Settings) -> tuple[Desired, list[Finding]]:
    """What is in force: the twin file, else what the replica last took."""
    try:
        if settings.twin is not None:
            source, document = str(settings.twin), read_document(settings.twin.read_bytes())
        else:
            kept = peek(settings.data / "replica/registry.db", DESIRED)
            if not isinstance(kept, dict):
                return Desired(), [skipped(TWIN, "there is none yet; give one by --twin")]
            source, document = "the last one taken", kept["document"]
        desired, warnings = Desired.parse(document)
    except ConfigurationError as error:
        return Desired(), [problem(TWIN, str(error), "correct the key; the last good one counts")]
    except StorageError as error:
        return Desired(), [problem(TWIN, str(error), "see the data folder")]
    except OSError as error:
        text = f"{settings.twin}: {error.strerror}"
        return Desired(), [problem(TWIN, text, "name a file that this user can read")]
    rules = len(desired.scope.repositories)
    found = [warning(TWIN, text, "correct or remove the key") for text in warnings]
    if not rules:
        remedy = "name repositories under scope.repositories"
        return desired, [*found, warning(TWIN, f"{source} asks for nothing", remedy)]
    return desired, [*found, ok(TWIN, f"{source}: {rules} rules of repositories")]


async def _folder(patient: Patient) -> list[Finding]:
    data = patient.settings.data
    first = check_folder.check_folder(data)
    found = [first]
    if first.state is not State.PROBLEM:
        found.append(check_folder.check_lock(data, answers=await _answers(data)))
    try:
        found.append(check_folder.check_disk(data, patient.desired.storage))
        found.append(check_folder.check_inodes(data))
    except OSError as error:
        found.append(problem(check_folder.DISK, f"{data}: {error.strerror}", "see the data folder"))
    return found


async def _answers(data: Path) -> bool:
    try:
        async with connect_socket(data) as running:
            return running is not None
    except (ReplicaError, OSError):
        return False


async def _network(patient: Patient) -> list[Finding]:
    try:
        choice = ParentChoice.of(patient.settings, patient.desired)
    except ConfigurationError as error:
        return [problem(check_network.LOGIN, str(error), "correct the setting")]
    if choice is None:
        return [
            check_network.check_clock(patient.clock(), None),
            skipped(check_network.LOGIN, "there is no parent: images come by push or by bundle"),
        ]
    found = [
        check_network.check_clock(patient.clock(), await check_network.parent_time(choice.address)),
        dns := await check_network.check_dns(choice.address),
    ]
    if dns.state is State.PROBLEM:
        return [*found, skipped(check_network.LOGIN, "its address is not known")]
    return [*found, *await check_network.check_parent(choice, patient.desired.scope)]


async def _site(patient: Patient) -> list[Finding]:
    settings = patient.settings
    found = [
        await check_network.check_hub(settings.hub_environment),
        await check_clients.check_certificate(settings, patient.clock),
    ]
    address = settings.listen_address
    names = [settings.login_server, f"127.0.0.1:{address.port}", f"localhost:{address.port}"]
    if address.host not in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        names.append(str(address))
    known = tuple(name for name in names if name)
    return [*found, *check_clients.check_clients(patient.root, known)]
