"""What each command does: ask the replica by a direct method, print the answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from connected_registry import log
from connected_registry.cli.connection import Connection
from connected_registry.cli.exits import Exit
from connected_registry.cli.output import (
    human_bytes,
    human_duration,
    print_json,
    print_line,
    print_pairs,
    print_table,
    short_digest,
)
from connected_registry.cli.progress import follow, view_for
from connected_registry.cli.session import call, run, settings_from


def serve(data: Path | None, listen: str | None, twin: Path | None, reported: Path | None) -> Exit:
    """Run the replica until SIGTERM or SIGINT."""
    from connected_registry.app import serving

    settings = settings_from(data, listen, twin, reported)
    log.configure(form=settings.log_format)
    os.umask(0o077)
    serving.run(lambda: serving.serve(settings))
    return Exit.OK


def sync(
    data: Path | None,
    twin: Path | None,
    repositories: list[str],
    *,
    resync: bool,
    wait: bool,
    json: bool,
) -> Exit:
    """Start a sync, or join the one that runs, and follow it."""

    async def ask(connection: Connection) -> Exit:
        payload: dict[str, Any] = {"repositories": repositories, "resync": resync}
        status, body = await connection.invoke("syncNow", payload)
        if status not in (202, 409) or "correlationId" not in body:
            body = await call(connection, "syncNow", payload)
        if not wait:
            print_json(body) if json else print_line(body["correlationId"])
            return Exit.OK
        task = await follow(connection, body["correlationId"], view_for(quiet=json))
        result = task.get("result") or {}
        if json:
            print_json(task)
        else:
            _print_sync(task["status"], result)
        if task["status"] == "Completed" and result.get("state") == "Succeeded":
            return Exit.OK
        return Exit.OFFLINE if result.get("offline") else Exit.NO

    return run(data, twin, ask)


def _print_sync(status: str, result: dict[str, Any]) -> None:
    print_line(
        f"{result.get('state', status)}: {result.get('imagesFetched', 0)} images fetched, "
        f"{result.get('imagesCurrent', 0)} already current, "
        f"{human_bytes(result.get('bytesFetched') or 0)} moved"
    )
    for failure in result.get("failures") or []:
        print_line(f"  {failure['image']}: {failure['reason']}: {failure['detail']}")
    if result.get("error") and not result.get("failures"):
        print_line(f"  {result['error']}")


def plan(data: Path | None, twin: Path | None, repositories: list[str], *, json: bool) -> Exit:
    """Print what a sync would do."""

    async def ask(connection: Connection) -> Exit:
        started = await call(connection, "planSync", {"repositories": repositories})
        task = await follow(connection, started["correlationId"], view_for(quiet=json))
        result = task.get("result") or {}
        if json:
            print_json(task)
        elif task["status"] == "Completed":
            _print_plan(result)
        else:
            print_line(f"{task['status']}: {result.get('error', 'no reason given')}")
        if task["status"] == "Completed" and not result.get("failures"):
            return Exit.OK
        return Exit.OFFLINE if result.get("offline") else Exit.NO

    return run(data, twin, ask)


def _print_plan(result: dict[str, Any]) -> None:
    rows = [
        (f"{image['repository']}:{image['tag']}", short_digest(image["digest"]), image["action"])
        for image in result.get("images") or []
    ]
    if rows:
        print_table(("IMAGE", "DIGEST", "ACTION"), rows)
    for removal in result.get("removals") or []:
        print_line(f"remove {removal}")
    for failure in result.get("failures") or []:
        print_line(f"{failure['image']}: {failure['reason']}: {failure['detail']}")
    counts = (
        f"{result.get('imagesToFetch', 0)} images, {result.get('blobs', 0)} blobs, "
        f"{human_bytes(result.get('bytes') or 0)} to fetch; "
        f"{human_bytes(result.get('bytesHeld') or 0)} held already"
    )
    seconds = result.get("estimatedSeconds")
    left = f"; about {human_duration(seconds)} at the last seen rate" if seconds else ""
    print_line(counts + left)


def status(data: Path | None, twin: Path | None, *, json: bool) -> Exit:
    """Print the state of the site; exit code 1 unless it is known to be complete."""

    async def ask(connection: Connection) -> Exit:
        body = await call(connection, "getStatus", {})
        if json:
            print_json(body)
        else:
            _print_status(body)
        return Exit.OK if body.get("inSync") == "true" else Exit.NO

    return run(data, twin, ask)


def describe_site(body: dict[str, Any]) -> str:
    """Whether the site is complete, in words."""
    missing = body.get("missing") or {}
    since = body.get("inSyncAsOf")
    if body.get("inSync") == "true":
        return f"complete, confirmed by the parent {since}"
    if body.get("inSync") == "false":
        return (
            f"incomplete: {missing.get('images', 0)} images, "
            f"{human_bytes(missing.get('bytes') or 0)} missing"
        )
    return f"unknown since {since}" if since else "unknown: never compared with the parent"


def _print_status(body: dict[str, Any]) -> None:
    run = body.get("sync") or {}
    cache = body.get("cache") or {}
    parent = body.get("parent") or {}
    connection = str(body.get("connectionState", "-"))
    if connection == "Offline" and parent.get("offlineSince"):
        connection += f" since {parent['offlineSince']}"
    print_pairs(
        [
            ("site", describe_site(body)),
            ("connection", connection),
            ("parent", parent.get("loginServer") or "none"),
            ("mode", (body.get("mode") or {}).get("value", "-")),
            ("last sync", run.get("lastSyncEndTime") or "never"),
            ("last success", run.get("lastSuccessfulSyncEndTime") or "never"),
            ("next sync", run.get("nextSyncTime") or "not planned"),
            ("sync", run.get("state", "-")),
            (
                "content",
                (
                    f"{cache.get('repositories', 0)} repositories, {cache.get('tags', 0)} tags, "
                    f"{cache.get('blobs', 0)} blobs, {human_bytes(cache.get('bytes') or 0)}"
                ),
            ),
            ("disk free", human_bytes(cache.get("freeBytes") or 0)),
        ]
    )
    if run.get("lastError"):
        print_line(f"last error: {run['lastError']}")
    for detail in body.get("statusDetails") or []:
        print_line(f"{detail['type']} {detail['code']}: {detail['description']}")


def images(data: Path | None, twin: Path | None, repository: str | None, *, json: bool) -> Exit:
    """Print every image held, page by page."""

    async def ask(connection: Connection) -> Exit:
        rows: list[dict[str, Any]] = []
        payload: dict[str, Any] = {"repository": repository} if repository else {}
        while True:
            body = await call(connection, "listImages", payload)
            rows.extend(body["images"])
            if not body.get("continuationToken"):
                break
            payload["continuationToken"] = body["continuationToken"]
        if json:
            print_json({"images": rows})
            return Exit.OK
        print_table(
            ("IMAGE", "DIGEST", "SIZE", "CONFIRMED", "STATE"),
            [
                (
                    f"{row['repository']}:{row['tag']}",
                    short_digest(row["digest"]),
                    human_bytes(row.get("bytes") or 0),
                    row.get("confirmedAt") or "-",
                    row.get("state") or "-",
                )
                for row in rows
            ],
        )
        return Exit.OK

    return run(data, twin, ask)


def uploads(data: Path | None, twin: Path | None, *, json: bool) -> Exit:
    """Print every change that waits to go up; exit code 1 where one is reported failed."""

    async def ask(connection: Connection) -> Exit:
        rows: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            body = await call(connection, "listUploads", {"after": after})
            rows.extend(body["uploads"])
            after = body.get("next")
        if json:
            print_json({"uploads": rows})
        else:
            _print_uploads(rows)
        return Exit.NO if any(row["state"] == "failed" for row in rows) else Exit.OK

    return run(data, twin, ask)


def _print_uploads(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print_line("nothing waits to go up")
        return
    print_table(
        ("CHANGE", "IMAGE", "DIGEST", "SINCE", "STATE"),
        [
            (
                row["kind"],
                f"{row['repository']}:{row['tag']}" if row["tag"] else row["repository"],
                short_digest(row["digest"]),
                row["queuedAt"],
                row["state"],
            )
            for row in rows
        ],
    )
    for row in rows:
        if row["reason"]:
            name = f"{row['repository']}:{row['tag'] or row['digest']}"
            print_line(f"{name}: {row['reason']}: {row['detail']} ({row['attempts']} attempts)")


def check(
    data: Path | None, twin: Path | None, wanted: list[str], platform: str | None, *, json: bool
) -> Exit:
    """Print per image whether it is whole here; exit code 1 unless all are."""

    async def ask(connection: Connection) -> Exit:
        payload: dict[str, Any] = {"images": wanted}
        if platform:
            payload["platform"] = platform
        body = await call(connection, "checkImages", payload)
        if json:
            print_json(body)
        else:
            for row in body["images"]:
                verdict = "complete" if row["complete"] else f"not complete: {row['reason']}"
                print_line(f"{row['image']}: {verdict}")
        return Exit.OK if all(row["complete"] for row in body["images"]) else Exit.NO

    return run(data, twin, ask)


def explain(data: Path | None, twin: Path | None, image: str, *, json: bool) -> Exit:
    """Print the one reason; exit code 1 unless the image is here and current."""

    async def ask(connection: Connection) -> Exit:
        body = await call(connection, "explain", {"image": image})
        if json:
            print_json(body)
        else:
            print_line(f"{body['image']}: {body['reason']}: {body['detail']}")
        return Exit.OK if body.get("current") else Exit.NO

    return run(data, twin, ask)
