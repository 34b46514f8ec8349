"""Commands that look after the data folder: ``gc``, ``verify``, ``purge``, ``backup`` and such."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from connected_registry.cli.connection import Connection
from connected_registry.cli.exits import Exit
from connected_registry.cli.options import Data, Json
from connected_registry.cli.output import human_bytes, print_error, print_json, print_line
from connected_registry.cli.progress import follow, view_for
from connected_registry.cli.session import call, run, settings_from


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (gc, verify, purge, backup, restore, repair):
        app.command()(command)


def gc(
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
) -> None:
    """Remove what nothing names any more, and say what is kept and why."""

    async def ask(connection: Connection) -> Exit:
        task = await _follow(connection, "collectGarbage", {"dryRun": dry_run}, json=json)
        if not json and task["status"] == "Completed":
            result = task["result"]
            verb = "would go" if dry_run else "removed"
            print_line(
                f"{verb}: {result['manifests']} manifests, {result['blobs']} blobs, "
                f"{result['files']} files, {human_bytes(result['bytes'])}"
            )
            for reason, count in result["kept"].items():
                print_line(f"kept: {count} {reason}")
        return _code(task)

    _finish(run(data, None, ask))


def verify(
    data: Data = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch what is damaged from the parent again.")
    ] = False,
    json: Json = False,
) -> None:
    """Read everything stored and compare it with its digest; exit code 1 where damage is left."""

    async def ask(connection: Connection) -> Exit:
        task = await _follow(connection, "verifyStore", {"repair": repair}, json=json)
        result = task.get("result") or {}
        if not json and task["status"] == "Completed":
            print_line(
                f"{result['checked']} pieces checked, {human_bytes(result['bytes'])}; "
                f"{result['damaged']} damaged, {result['repaired']} repaired"
            )
            for finding in result["findings"]:
                print_line(f"  {finding['detail']}")
        if _code(task) is not Exit.OK or result.get("unrecoverable"):
            return Exit.NO
        return Exit.OK

    _finish(run(data, None, ask))


def purge(
    repository: Annotated[str, typer.Argument(help="From which repository.")],
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="[TAG]...", help="Default: all of it.")
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove images here at once; in ReadOnly mode only what is out of scope."""

    async def ask(connection: Connection) -> Exit:
        payload = {"repository": repository, "tags": tags or []}
        task = await _follow(connection, "purge", payload, json=json)
        if not json and task["status"] == "Completed":
            result = task["result"]
            print_line(
                f"removed: {result['manifests']} manifests, {human_bytes(result['bytes'])}; "
                f"{result['tagsKept']} tags stay"
            )
        return _code(task)

    _finish(run(data, None, ask))


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="New, or an older backup.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """Copy the data folder, also while a replica runs on it."""
    from connected_registry.storage.backup import back_up

    done = back_up(settings_from(data=data).data, target)
    if json:
        print_json(done.to_json())
    else:
        print_line(
            f"{done.files + done.linked} files new ({human_bytes(done.bytes)}), "
            f"{done.known} there already"
        )
        for digest in done.examples:
            print_error(f"damaged, not copied: {digest}")
    _finish(Exit.NO if done.damaged else Exit.OK)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="Made by `backup`.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a new data folder from a backup; every file is checked."""
    from connected_registry.storage.backup import restore as restore_backup

    done = restore_backup(source, settings_from(data=data).data)
    if json:
        print_json(done.to_json())
    else:
        print_line(f"{done.files} files restored, {human_bytes(done.bytes)}")
        for digest in done.examples:
            print_error(f"damaged in the backup, left out: {digest}")
    _finish(Exit.NO if done.damaged else Exit.OK)


def repair(
    data: Data = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make a new database from index.json and the blobs."),
    ] = False,
    json: Json = False,
) -> None:
    """Check the database; with --rebuild make it anew where it is lost. No replica may run."""
    from connected_registry.storage.rebuild import is_sound
    from connected_registry.storage.rebuild import rebuild as rebuild_database

    path = settings_from(data=data).data
    if not rebuild:
        fault = is_sound(path / "replica" / "registry.db")
        if json:
            print_json({"sound": fault is None, "fault": fault})
        else:
            print_line("the database is sound" if fault is None else f"the database: {fault}")
            if fault is not None:
                print_line("restore a backup, or make it anew: repair --rebuild")
        _finish(Exit.OK if fault is None else Exit.NO)
        return
    done = rebuild_database(path, clock=lambda: datetime.now(UTC))
    if json:
        print_json(done.to_json())
    else:
        print_line(
            f"{len(done.repositories)} repositories, {done.tags} tags, "
            f"{done.manifests} manifests are back"
        )
        if done.old is not None:
            print_line(f"the old database is in {done.old}")
        for sentence in done.lost[:50]:
            print_error(f"lost: {sentence}")
    _finish(Exit.NO if done.lost else Exit.OK)


async def _follow(
    connection: Connection, method: str, payload: dict[str, Any], *, json: bool
) -> dict[str, Any]:
    """Start a task, wait for its end, and print it or its error."""
    started = await call(connection, method, payload)
    task = await follow(connection, started["correlationId"], view_for(quiet=True))
    if json:
        print_json(task)
    elif task["status"] != "Completed":
        print_error(str((task.get("result") or {}).get("error", "no reason given")))
    return task


def _code(task: dict[str, Any]) -> Exit:
    return Exit.OK if task["status"] == "Completed" else Exit.FAILED


def _finish(code: Exit) -> None:
    if code is not Exit.OK:
        raise typer.Exit(int(code))
