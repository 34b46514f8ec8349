"""The OCI conformance suite against the replica in each of its modes.

``scripts/conformance`` runs this file and puts the tables into ``docs/conformance.md``; otherwise
the tables there have to agree with the run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from connected_registry.policy.password import hash_password
from peers.images import Image, make_artifact, make_platforms, make_signature, push
from system.conformance import Results, install_suite, merge, run_suite, write, written
from system.conftest import ReplicaFactory

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

UPDATE: Final = "CONFORMANCE_UPDATE"
"""Set by ``scripts/conformance``."""

REPOSITORY: Final = "conformance/repo1"
NO_PUSHES: Final = "a ReadOnly replica takes no pushes; content came by synchronisation"
NO_DELETES: Final = "a ReadOnly replica takes no deletions"
SAMPLE: Final = "the suite makes this content by pushing it"


READ_ONLY_BRANCHES: Final = (
    "ping",
    "empty",
    "read-only",
    "missing-manifest",
    "invalid-digest-format",
)
"""Everything in the suite that does not begin with a push, one run each: a whole run without pushes
ends in a crash of the suite while it writes ``results.yaml``."""


READ_ONLY: Final = {
    "OCI_REPO1": REPOSITORY,
    "OCI_API_PUSH": "false",
    "OCI_API_BLOBS_DELETE": "false",
    "OCI_API_MANIFESTS_DELETE": "false",
    "OCI_API_TAGS_DELETE": "false",
    # The suite looks for the header only on manifests that it pushed itself, and reports it
    # missing on all others; the test looks itself.
    "OCI_API_MANIFESTS_DIGEST_HEADER": "false",
}


@pytest.fixture(scope="module")
def suite() -> Path:
    """The suite's program."""
    return install_suite()


def check(section: str, results: Results, reasons: Mapping[str, str]) -> None:
    """No failure, a reason for everything that did not pass, and a document that says the same."""
    assert results.cases["failed"] == 0, results.output[-8000:]
    assert results.cases["passed"] > 0
    assert set(results.imperfect.values()) <= {"Skip", "Disabled"}
    assert set(results.imperfect) == set(reasons)
    table = results.table(reasons)
    if os.environ.get(UPDATE):
        write(section, table)
    assert written(section) == table, "run scripts/conformance to bring the document up to date"


@pytest.mark.parametrize("logged_in", [False, True], ids=["open", "tokens"])
def test_read_write(
    suite: Path, new_replica: ReplicaFactory, tmp_path: Path, logged_in: bool
) -> None:
    """Everything passes, nothing is skipped: open to this machine, and with client tokens."""
    desired: dict[str, Any] = {"mode": "ReadWrite"}
    credentials: dict[str, str] = {}
    if logged_in:
        credentials = {"OCI_USERNAME": "tester", "OCI_PASSWORD": "tester-secret"}
        desired |= tokens("tester", "tester-secret")
    replica = new_replica(desired, environment={"CONNECTED_REGISTRY_SPARSE_PUSHES": "accept"})
    results = run_suite(suite, replica.listen, tmp_path, OCI_DATA_SPARSE="true", **credentials)

    check("read-write with tokens" if logged_in else "read-write", results, {})


def tokens(name: str, password: str) -> dict[str, Any]:
    """A client token that may do everything."""
    return {
        "clientTokens": [
            {
                "name": name,
                "scopeMap": "_repositories_admin",
                "passwords": [{"hash": hash_password(password)}],
            }
        ]
    }


def test_read_only(suite: Path, new_replica: ReplicaFactory, tmp_path: Path) -> None:
    """What was synchronised from another registry is served as the specification says."""
    parent = new_replica({"mode": "ReadWrite"})
    app = push(make_platforms("app"), parent.url, REPOSITORY, "1.0", "latest")
    about = push(make_artifact(app), parent.url, REPOSITORY)
    signature = push(make_signature(app), parent.url, REPOSITORY)
    replica = new_replica({"scope": {"repositories": [{"name": REPOSITORY}]}}, parent=parent.listen)
    replica.sync()
    content = read_only_content(app, about, signature)
    results = merge(
        run_suite(
            suite,
            replica.listen,
            tmp_path / branch,
            OCI_FILTER_TEST=f"OCI Conformance Test/{branch}",
            **READ_ONLY,
            **(content if branch == "read-only" else {}),
        )
        for branch in READ_ONLY_BRANCHES
    )

    check("read-only", results, read_only_reasons(results))
    for tag in content["OCI_RO_DATA_TAGS"].split():
        assert replica.digest(REPOSITORY, tag) == parent.digest(REPOSITORY, tag)
    for digest in content["OCI_RO_DATA_MANIFESTS"].split():
        assert replica.digest(REPOSITORY, digest) == digest


def read_only_content(app: Image, about: Image, signature: Image) -> dict[str, str]:
    """Settings that name everything to be pulled."""
    manifests = [*(each.digest for each in app.everything()), about.digest, signature.digest]
    blobs = {**app.all_blobs(), **about.all_blobs(), **signature.all_blobs()}
    return {
        "OCI_RO_DATA_TAGS": " ".join(["1.0", "latest", *signature.extra_tags]),
        "OCI_RO_DATA_MANIFESTS": " ".join(manifests),
        "OCI_RO_DATA_BLOBS": " ".join(blobs),
        "OCI_RO_DATA_REFERRERS": app.digest,
    }


def read_only_reasons(results: Results) -> dict[str, str]:
    """Why a ReadOnly replica does not pass what it does not do."""
    reasons = {}
    for name in results.imperfect:
        if name in results.data:
            reasons[name] = SAMPLE
        else:
            reasons[name] = NO_DELETES if "delete" in name else NO_PUSHES
    return reasons
