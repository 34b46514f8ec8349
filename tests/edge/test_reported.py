"""The reported document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge.acknowledgement import acknowledge
from connected_registry.edge.patch import check_limits, twin_size
from connected_registry.edge.reported import (
    MAX_REPORTED,
    Cache,
    ConnectionState,
    Facts,
    InSync,
    LoginServer,
    Missing,
    ParentStatus,
    Progress,
    RepositoryStatus,
    StatusDetail,
    SyncState,
    SyncStatus,
    SyncTrigger,
    Uploads,
    bound,
)
from connected_registry.edge.twin import Desired

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _facts(**changes: Any) -> Facts:
    given = {
        "connection_state": ConnectionState.SYNCING,
        "in_sync": InSync.FALSE,
        "in_sync_as_of": NOW,
        "missing": Missing(images=2, bytes=1000),
        "sync": SyncStatus(
            trigger=SyncTrigger.SCHEDULE,
            state=SyncState.SYNCING,
            last_sync_start_time=NOW,
            progress=Progress(phase="fetching", images_done=1, images_total=3),
        ),
        "parent": ParentStatus(login_server="acme.azurecr.io"),
        "cache": Cache(repositories=1, tags=2, bytes=10),
        "repositories": (RepositoryStatus(name="team/app", tags=2, bytes=10),),
        "login_server": LoginServer(host="edge:8080"),
        "uploads": Uploads(),
        "version": "0.1.0",
    }
    return Facts(**{**given, **changes})


def test_names_are_the_contract_s() -> None:
    """The document has the contract's keys, times in RFC 3339 and no null."""
    document = _facts().document({})
    assert document["connectionState"] == "Syncing"
    assert document["inSync"] == "false"
    assert document["inSyncAsOf"] == "2026-01-01T12:00:00Z"
    assert document["missing"] == {"images": 2, "bytes": 1000}
    assert document["sync"]["trigger"] == "Schedule"
    assert document["sync"]["progress"] == {
        "phase": "fetching",
        "imagesDone": 1,
        "imagesTotal": 3,
        "bytesDone": 0,
        "bytesTotal": 0,
        "bytesPerSecond": 0,
    }
    assert document["loginServer"] == {"host": "edge:8080", "tls": {"status": "Disabled"}}
    assert document["uploads"] == {"waiting": 0, "failed": 0}
    assert document["repositories"][0]["inSync"] == "unknown"
    check_limits(document, "reported")


def test_sync_is_a_setting_and_a_state_in_one() -> None:
    """``sync`` and ``parent`` carry their acknowledgement beside what goes on."""
    answers = acknowledge({}, Desired(), 1)
    document = _facts().document(answers)
    assert document["sync"]["ac"] == 203
    assert document["sync"]["state"] == "Syncing"
    assert document["parent"]["loginServer"] == "acme.azurecr.io"
    assert document["mode"]["value"] == "ReadOnly"
    assert document["lastDesiredVersion"] == 1


def _repositories(count: int, name: int = 20) -> tuple[RepositoryStatus, ...]:
    return tuple(
        RepositoryStatus(
            name=f"team/{'x' * name}{n}",
            tags=10,
            bytes=10**9,
            in_sync=InSync.TRUE if n % 10 else InSync.FALSE,
            state_digest="sha256:" + "0" * 64,
        )
        for n in range(count)
    )


def test_a_large_site_stays_below_the_bound() -> None:
    """200 repositories fit by leaving some out, counted, those not in sync kept longest."""
    rules = [{"name": f"team/app{n}", "tags": ["1.*"]} for n in range(200)]
    wanted = {"scope": {"repositories": rules}}
    answers = acknowledge(wanted, Desired.parse(wanted)[0], 12)
    document = bound(_facts(repositories=_repositories(200)).document(answers))
    assert twin_size(document) <= MAX_REPORTED
    kept = document["repositories"]
    assert len(kept) + document["repositoriesOmitted"] == 200
    assert sum(each["inSync"] == "false" for each in kept) == 20
    assert [each["name"] for each in kept] == sorted(
        (each["name"] for each in kept), key=lambda name: int(name.split("x")[-1])
    )


def test_a_small_site_is_not_cut() -> None:
    """What fits is reported whole, without a count of omissions."""
    document = _facts().document({})
    assert bound(document) == document


@given(st.integers(0, 300), st.integers(0, 200), st.integers(0, 60), st.integers(4000, 30000))
def test_nothing_exceeds_the_bound(count: int, name: int, details: int, limit: int) -> None:
    """However many repositories and faults, the document fits, and the main answers are there."""
    faults = tuple(
        StatusDetail(type="Parent", code="offline", description="x" * 300, timestamp=NOW)
        for _ in range(details)
    )
    facts = _facts(repositories=_repositories(count, name), status_details=faults)
    document = bound(facts.document(acknowledge({}, Desired(), 3)), limit)
    assert twin_size(document) <= limit
    assert document["inSync"] == "false"
    assert document["mode"]["ac"] == 203
