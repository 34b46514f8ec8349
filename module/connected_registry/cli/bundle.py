"""``connected-registry bundle``: images carried to a site by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from connected_registry.bundle.opened import OpenBundle
from connected_registry.bundle.seal import SealKey
from connected_registry.bundle.volumes import MIN_VOLUME
from connected_registry.cli.connection import Connection
from connected_registry.cli.examples import examples
from connected_registry.cli.exits import Exit
from connected_registry.cli.options import Data, Json, Twin
from connected_registry.cli.output import human_bytes, print_json, print_line, print_table
from connected_registry.cli.progress import follow, view_for
from connected_registry.cli.session import call, run
from connected_registry.cli.sizes import parse_size
from connected_registry.edge.refusal import Refusal
from connected_registry.errors import ConfigurationError, ReplicaError
from connected_registry.policy.scope import RepositoryRule

app = typer.Typer(
    help="Carry images to a site without a link: one file, or volumes of a given size.\n\n"
    "A bundle is a tar archive with an OCI image layout in it, which other tools read as well: "
    "skopeo copy oci-archive:FILE:team/app:1.0 docker://...",
    no_args_is_help=True,
)

VerifyKey = Annotated[
    Path | None,
    typer.Option("--verify-key", metavar="FILE", help="Refuse a bundle not signed by this key."),
]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="The bundle, its first volume, or all its volumes."),
]


@app.command(
    epilog=examples(
        "bundle export --output /media/usb/plant7.tar --inventory plant7.json",
        "bundle export --output plant7.tar --image team/app:1.4,1.5 --volume-size 700M",
        "bundle export --output all.tar --image '*' --sign-key shared.key",
    )
)
def export(
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The bundle to write.")],
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:TAG[,TAG]]",
            help="What to take, globs allowed, may be given often; default: what the inventory's "
            "site wants, else what this replica wants, else everything.",
        ),
    ] = None,
    inventory: Annotated[
        Path | None,
        typer.Option(
            "--inventory",
            "--receipt",
            metavar="FILE",
            help="Leave out what the site has: its inventory, or the receipt of its last import.",
        ),
    ] = None,
    volume_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Cut into FILE.001, FILE.002 ... of this size (700M)."),
    ] = None,
    sign_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Sign with this shared secret (HMAC-SHA256): whoever can check can also sign.",
        ),
    ] = None,
    data: Data = None,
    twin: Twin = None,
    json: Json = False,
) -> None:
    """Write images held here to a bundle, all or only what a site lacks.

    Every byte is checked while it is written. Images that are not whole here are left out and
    named; the exit code is then 1, as it is when nothing was found. The same content gives the
    same bundle, byte for byte.
    """
    size = parse_size("--volume-size", volume_size) if volume_size is not None else None
    if size is not None and size < MIN_VOLUME:
        raise ConfigurationError("--volume-size", volume_size, f"use at least {MIN_VOLUME} bytes")
    payload: dict[str, Any] = {
        "output": str(output.absolute()),
        "repositories": [_rule(text) for text in image or []],
        "inventory": _path(inventory),
        "volumeSize": size,
        "signKey": _path(sign_key),
    }

    async def ask(connection: Connection) -> Exit:
        result = await _work(connection, "exportBundle", payload, quiet=json)
        print_json(result) if json else _print_export(result)
        found = result["images"] or result["current"]
        return Exit.OK if found and not result["leftOut"] else Exit.NO

    _finish(run(data, twin, ask))


def _print_export(result: dict[str, Any]) -> None:
    for refused in result["leftOut"]:
        print_line(f"left out {refused['image']}: {refused['reason']}: {refused['detail']}")
    if not result["images"]:
        what = (
            f"all {result['current']} images are there already"
            if result["current"]
            else ("no image here was asked for")
        )
        print_line(f"nothing to carry: {what}; no bundle was written")
        return
    for file in result["files"]:
        print_line(file)
    print_line(
        f"{len(result['images'])} images, {human_bytes(result['bytes'])}; "
        f"{result['current']} more are at the site already"
    )


@app.command(
    "import", epilog=examples("bundle import /media/usb/plant7.tar", "bundle import plant7.tar.001")
)
def import_command(
    files: Files,
    data: Data = None,
    twin: Twin = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what the site's scope does not select.")
    ] = False,
    verify_key: VerifyKey = None,
    receipt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the receipt goes; default: beside the bundle."),
    ] = None,
    json: Json = False,
) -> None:
    """Bring a bundle's images in, under the rules of a sync.

    Each image is verified, becomes visible as a whole, its tag last; nothing is ever removed.
    An import that was cut goes on where it was when it is started again. Afterwards an online
    sync fetches nothing of it again. The receipt tells the next export what is here now.
    """
    paths = [path.absolute() for path in files]
    key = SealKey.load("--verify-key", verify_key) if verify_key is not None else None
    with OpenBundle.open(paths, key):
        pass  # what is wrong with the files is told before the replica is troubled
    payload = {
        "files": [str(path) for path in paths],
        "everything": everything,
        "verifyKey": _path(verify_key),
        "receipt": _path(receipt),
    }

    async def ask(connection: Connection) -> Exit:
        result = await _work(connection, "importBundle", payload, quiet=json)
        print_json(result) if json else _print_import(result)
        return Exit.NO if result["refused"] else Exit.OK

    _finish(run(data, twin, ask))


def _print_import(result: dict[str, Any]) -> None:
    for refused in result["refused"]:
        print_line(f"not imported {refused['image']}: {refused['reason']}: {refused['detail']}")
    print_line(
        f"{len(result['imported'])} images imported, {len(result['current'])} already here, "
        f"{len(result['refused'])} not imported; {human_bytes(result['bytesImported'])} read"
    )
    if result.get("receipt"):
        print_line(f"receipt: {result['receipt']}")
    else:
        print_line("the receipt cannot be written there; `bundle inventory` writes one elsewhere")


@app.command(epilog=examples("bundle inventory --output /media/usb/plant7.json"))
def inventory(
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="The inventory to write.")
    ],
    data: Data = None,
    twin: Twin = None,
    json: Json = False,
) -> None:
    """Write down what is here and what is wanted, for whoever makes the next bundle."""

    async def ask(connection: Connection) -> Exit:
        payload = {"output": str(output.absolute())}
        result = await _work(connection, "takeInventory", payload, quiet=json)
        if json:
            print_json(result)
        else:
            print_line(f"{result['images']} images of site {result['site']} in {result['file']}")
        return Exit.OK

    _finish(run(data, twin, ask))


@app.command(epilog=examples("bundle inspect plant7.tar", "bundle inspect --check plant7.tar.001"))
def inspect(
    files: Files,
    check: Annotated[
        bool, typer.Option("--check", help="Read everything and compare the digests.")
    ] = False,
    verify_key: VerifyKey = None,
    json: Json = False,
) -> None:
    """Say what is in a bundle; needs no replica."""
    key = SealKey.load("--verify-key", verify_key) if verify_key is not None else None
    with OpenBundle.open([path.absolute() for path in files], key) as bundle:
        missing = [str(path) for path in bundle.missing]
        damaged = [str(error) for error in bundle.check()] if check else []
        contents = bundle.contents
        document = {
            "bundle": bundle.digest,
            "bytes": bundle.size,
            "signed": bundle.signed,
            "signatureChecked": key is not None,
            "madeFor": contents.made_for,
            "confirmedAt": contents.newest.isoformat() if contents.newest else None,
            "missing": missing,
            "damaged": damaged,
            "images": [
                {"image": str(each), "digest": each.digest, "bytes": each.size}
                for each in contents.images
            ],
        }
    if json:
        print_json(document)
    else:
        rows = [(str(each), each.digest, human_bytes(each.size)) for each in contents.images]
        print_table(("IMAGE", "DIGEST", "SIZE"), rows)
        signed = "signed" if bundle.signed else "not signed"
        print_line(f"{bundle.digest}: {len(rows)} images, {human_bytes(bundle.size)}, {signed}")
        for path in missing:
            print_line(f"{path} is not there: put it beside the others")
        for line in damaged:
            print_line(line)
    _finish(Exit.NO if missing or damaged else Exit.OK)


async def _work(
    connection: Connection, method: str, payload: dict[str, Any], *, quiet: bool
) -> dict[str, Any]:
    given = {key: value for key, value in payload.items() if value is not None}
    started = await call(connection, method, given)
    task = await follow(connection, started["correlationId"], view_for(quiet=quiet))
    result: dict[str, Any] = task.get("result") or {}
    if task["status"] != "Completed":
        raise ReplicaError(str(result.get("error", f"{method} failed; see the log")))
    return result


def _rule(text: str) -> dict[str, Any]:
    try:
        rule = RepositoryRule.parse_argument(text)
    except ValidationError as error:
        raise ConfigurationError("--image", text, Refusal.of(error, "image").remedy) from None
    return {"name": rule.name, "tags": list(rule.tags)}


def _path(path: Path | None) -> str | None:
    return str(path.absolute()) if path is not None else None


def _finish(code: Exit) -> None:
    if code is not Exit.OK:
        raise typer.Exit(int(code))
