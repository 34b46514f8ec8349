"""The command line: ``connected-registry serve|sync|plan|status|images|...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from connected_registry import __version__
from connected_registry.cli import bundle, commands, on_site, token, upkeep
from connected_registry.cli.examples import examples
from connected_registry.cli.exits import Exit, exit_for
from connected_registry.cli.options import Data, Json, Twin
from connected_registry.cli.output import print_error, print_line
from connected_registry.errors import ReplicaError

EXIT_CODES = (
    "Exit codes: 0 done, or yes; 1 the answer is no (sync failed, image incomplete, not in sync); "
    "2 a wrong argument, setting or twin value; 3 the parent cannot be reached; 4 the data folder "
    "is held by a process that does not answer; 5 the replica or its data folder failed."
)

app = typer.Typer(
    name="connected-registry",
    help="Keep chosen repositories of a parent registry on site and serve them, link or no link.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(token.app, name="token")
upkeep.register(app)
app.add_typer(bundle.app, name="bundle")
on_site.add_commands(app)

Repositories = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REPOSITORY]...", help="Only these repositories; default: the scope."),
]


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"connected-registry {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog=examples("serve --data /var/acr/data --listen 127.0.0.1:8080 --twin site.json"))
def serve(
    data: Data = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to serve [CONNECTED_REGISTRY_LISTEN]."),
    ] = None,
    twin: Twin = None,
    reported: Annotated[
        Path | None,
        typer.Option("--reported", metavar="FILE", help="Write reported properties here."),
    ] = None,
) -> None:
    """Serve the replica and keep it in sync until stopped."""
    _finish(commands.serve(data, listen, twin, reported))


@app.command(epilog=examples("sync", "sync team/app --resync", "sync --no-wait"))
def sync(
    repositories: Repositories = None,
    data: Data = None,
    twin: Twin = None,
    resync: Annotated[
        bool, typer.Option("--resync", help="Compare everything anew, referrers included.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    json: Json = False,
) -> None:
    """Synchronise with the parent now."""
    _finish(commands.sync(data, twin, repositories or [], resync=resync, wait=wait, json=json))


@app.command(epilog=examples("plan", "plan team/app --json"))
def plan(
    repositories: Repositories = None,
    data: Data = None,
    twin: Twin = None,
    json: Json = False,
) -> None:
    """Say what the next sync would fetch: images, blobs, bytes, time."""
    _finish(commands.plan(data, twin, repositories or [], json=json))


@app.command(epilog=examples("status", "status --json | jq .missing"))
def status(data: Data = None, twin: Twin = None, json: Json = False) -> None:
    """Say whether the site is complete, how old that knowledge is, and what goes on."""
    _finish(commands.status(data, twin, json=json))


@app.command(epilog=examples("images", "images team/app"))
def images(
    repository: Annotated[str | None, typer.Argument(help="Only this repository.")] = None,
    data: Data = None,
    twin: Twin = None,
    json: Json = False,
) -> None:
    """List the images held here, with digest, size and when the parent last confirmed them."""
    _finish(commands.images(data, twin, repository, json=json))


@app.command()
def uploads(data: Data = None, twin: Twin = None, json: Json = False) -> None:
    """List what was pushed or deleted here and is not at the parent yet, in order."""
    _finish(commands.uploads(data, twin, json=json))


@app.command(
    epilog=examples("check team/app:1.4", "check team/app:1.4 team/db:9 --platform linux/arm64")
)
def check(
    image: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="repo[:tag][@digest]")],
    data: Data = None,
    twin: Twin = None,
    platform: Annotated[
        str | None, typer.Option(help="Ask for one platform, such as linux/arm64.")
    ] = None,
    json: Json = False,
) -> None:
    """Say for each image whether it can be pulled and run with the link down."""
    _finish(commands.check(data, twin, image, platform, json=json))


@app.command(epilog=examples("explain team/app:1.4"))
def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="repo[:tag][@digest]")],
    data: Data = None,
    twin: Twin = None,
    json: Json = False,
) -> None:
    """Give the one reason why an image is absent or old."""
    _finish(commands.explain(data, twin, image, json=json))


def _finish(code: Exit) -> None:
    if code is not Exit.OK:
        raise typer.Exit(int(code))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every expected error becomes one line and an exit code."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except ReplicaError as error:
        print_error(str(error))
        sys.exit(int(exit_for(error)))
    except KeyboardInterrupt:
        sys.exit(int(Exit.INTERRUPTED))
