"""Commands for whoever stands in front of the machine: ``doctor``, ``watch``, ``client-config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connected_registry.cli.client_config import client_config
from connected_registry.cli.doctor import doctor
from connected_registry.cli.examples import examples
from connected_registry.cli.exits import Exit
from connected_registry.cli.mirror import Client
from connected_registry.cli.options import Data, Json, Twin
from connected_registry.cli.watch import watch
from connected_registry.connection_string import Protocol


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file among those of ``app``."""
    app.command(
        "doctor",
        epilog=examples("doctor", "doctor --data /var/acr/data --json", "doctor --root /host"),
    )(_doctor)
    app.command("watch", epilog=examples("watch", "watch --once", "watch | tee site.log"))(_watch)
    app.command(
        "client-config",
        epilog=examples(
            "client-config containerd --registry http://10.1.2.3:8080 --mirror-of docker.io",
            "client-config podman --registry edge.plant7 --mirror-of acme.azurecr.io --write",
        ),
    )(_client_config)


def _doctor(
    data: Data = None,
    twin: Twin = None,
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where this machine's / is, seen from a container."),
    ] = Path("/"),
    json: Json = False,
) -> None:
    """Look at everything a site needs, and name the remedy for what is wrong.

    Settings and twin; the data folder, its owner, lock, space and inodes; the clock, against the
    parent's; name lookup; the login at the parent and the rights on each repository of the
    scope; the hub; the certificate; container clients on this machine. Nothing is changed, and a
    running replica is not disturbed. Exit code 1 when there is a problem.
    """
    _finish(doctor(data, twin, root, json=json))


def _watch(
    data: Data = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
) -> None:
    """Show the site's state as it changes, until Ctrl-C.

    A screen on a terminal; elsewhere a line for each change.
    """
    _finish(watch(data, once=once))


def _client_config(
    client: Annotated[
        Client,
        typer.Argument(
            metavar="containerd|docker|podman|k3s", help="Which client is to be set up."
        ),
    ],
    registry: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where clients reach this replica.")
    ],
    mirror_of: Annotated[
        str, typer.Option(metavar="HOST", help="The registry that image names begin with.")
    ],
    protocol: Annotated[
        Protocol | None, typer.Option(help="https (default) or http, as the replica serves.")
    ] = None,
    ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The authority's certificate, on the client's disk."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the files instead of printing them.")
    ] = False,
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the client's / is, for --write.")
    ] = Path("/"),
    json: Json = False,
) -> None:
    """Let containerd, Docker, podman or k3s ask this replica first and the cloud after.

    Prints the files and what to know: restarts, what each client does with credentials, and how
    long it waits for a replica that is away. With --write the files are written; one that
    somebody else made is never replaced (daemon.json is merged).
    """
    _finish(
        client_config(client, registry, mirror_of, protocol, ca, write=write, root=root, json=json)
    )


def _finish(code: Exit) -> None:
    if code is not Exit.OK:
        raise typer.Exit(int(code))
