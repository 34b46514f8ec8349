"""Nothing that is asked often reads a whole table: every statement is looked at by its plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.database import Database
from storage.store import OTHER, REPOSITORY, Store, image, multi_platform, open_store

_ORDERED = "SCAN repository USING COVERING INDEX"
"""Reading names in order, a page at a time; counting them."""


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is executed meanwhile, on any connection."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def scans(database: Database, executed: list[tuple[str, Any]]) -> list[str]:
    """Steps of the plans that read a table or an index from end to end."""
    found = []
    with database.read() as session:
        connection = session.connection()
        for statement, parameters in executed:
            if isinstance(parameters, list):
                parameters = parameters[0]
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found += [f"{row[3]} IN {statement}" for row in plan if row[3].startswith("SCAN")]
    return [scan for scan in found if not scan.startswith((_ORDERED, "SCAN CONSTANT"))]


def test_no_use_of_the_registry_reads_a_whole_table(store: Store) -> None:
    """Pull, push, list, delete, sync and totals all go by an index."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    signature = image(b"signature", subject=whole.descriptor())
    layer = Digest.of(b"signature")
    registry = store.registry
    with statements() as executed:
        for each in (*images.values(), whole, signature):
            store.push(each, "v1", "v2")
        registry.resolve(REPOSITORY, Tag("v1"))
        registry.resolve(REPOSITORY, whole.digest)
        registry.stat_blob(REPOSITORY, layer)
        registry.mount_blob(OTHER, layer, [REPOSITORY])
        registry.delete_blob(OTHER, layer)
        registry.list_tags(REPOSITORY, "a", 10)
        registry.list_repositories("a", 10)
        registry.list_referrers(REPOSITORY, whole.digest, "x")
        registry.tag_details(REPOSITORY, "a", 10)
        registry.manifest_details(REPOSITORY, "a", 10)
        registry.closure(REPOSITORY, whole.digest)
        registry.commit_image(signature.commit("v3"))
        registry.confirm_tags(REPOSITORY, {Tag("v3"): signature.digest}, store.clock())
        registry.delete_tag(REPOSITORY, Tag("v3"))
        registry.delete_manifest(REPOSITORY, signature.digest)
        registry.statistics()
        registry.repository_statistics("a", 10)
    assert len(executed) > 50
    assert scans(store.database, executed) == []


def test_opening_reads_no_table_of_content(store: Store) -> None:
    """A start costs the same whatever is stored."""
    store.push(image(), "v1")
    path = store.folder.path.with_name("second")
    with open_store(path):
        pass
    with statements() as executed, open_store(path) as again:
        assert again.registry.list_tags  # opened
    tables = " ".join(statement for statement, _ in executed)
    for name in ("blob", "blob_link", "manifest", "edge", "tag"):
        assert f"FROM {name}" not in tables


def test_a_scan_would_be_noticed(store: Store) -> None:
    """The check itself works."""
    with statements() as executed, store.database.read() as session:
        session.connection().exec_driver_sql("SELECT * FROM edge WHERE size = 1")
    assert len(scans(store.database, executed)) == 1
    assert RepositoryName("team/app") == REPOSITORY
