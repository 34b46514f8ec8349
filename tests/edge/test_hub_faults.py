"""Each way in which the hub, the way to it or the SDK was seen to fail."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from azure.iot.device.aio import IoTHubModuleClient
from azure.iot.device.common.pipeline import pipeline_thread

from connected_registry.edge.destination import Limits
from connected_registry.edge.hub import Pace
from hub.rig import LIMITS, PACE, Rig, rig
from local_hub.hub import LocalHub
from local_hub.module import Module

# The SDK leaves the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


async def assert_well(it: Rig, marker: int) -> None:
    """Desired, reported, methods and telemetry all work now."""
    await it.module.until(lambda module: module.ready)
    version = it.module.patch_desired({"marker": marker})
    await it.until(lambda: any(seen == version for seen, _ in it.desired))
    assert it.desired[-1][1] == it.module.desired.values
    it.client.report({"marker": marker})
    await it.module.until(lambda module: module.reported.values == {"marker": marker})
    await it.emit("usage", {"marker": marker})
    await it.until(lambda: {"marker": marker} in it.bodies())
    assert await it.module.invoke("ping", {"m": marker}, connect_timeout=30) == (
        200,
        {"echo": {"m": marker}},
    )


async def test_a_dropped_connection_is_made_again(tmp_path: Path) -> None:
    """A connection that ends without a word is followed by a new session."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        it.hub.drop(it.module)
        await it.connected(2)
        await assert_well(it, 2)


async def test_changes_made_while_the_hub_was_away_arrive(tmp_path: Path) -> None:
    """A desired change, a report and an event of the time without a hub are all delivered."""
    async with rig(tmp_path) as it:
        await it.connected()
        await it.hub.stop()
        await it.until(lambda: not it.client.state.connected)
        it.module.patch_desired({"while": "away"})
        it.client.report({"while": "away"})
        await it.emit("usage", {"while": "away"})
        it.hub.start()

        await it.until(lambda: (2, {"while": "away"}) in it.desired)
        await it.module.until(lambda module: module.reported.values == {"while": "away"})
        await it.until(lambda: it.bodies() == [{"while": "away"}])


async def test_a_hub_that_is_not_there_at_start_is_found_later(tmp_path: Path) -> None:
    """The first connection is tried for as long as it takes, and the error is told."""
    async with rig(tmp_path, hub_open=False) as it:
        await it.until(lambda: it.client.state.last_error is not None)
        assert f"cannot connect to {it.hub.gateway}:8883" in str(it.client.state.last_error)
        it.hub.start()
        await assert_well(it, 1)


async def test_a_hub_that_lost_its_sessions_is_subscribed_to_again(tmp_path: Path) -> None:
    """An edgeHub made anew without its storage does not leave the module deaf."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        await it.hub.restart(lose_sessions=True)
        await it.connected(2)
        await assert_well(it, 2)


async def test_a_lost_twin_answer_costs_one_session(tmp_path: Path) -> None:
    """An answer that never comes is waited for in vain once, and later changes still arrive."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        it.module.faults.lose_twin_answers = True
        it.hub.drop(it.module)
        await it.module.until(lambda module: module.count("twin answer lost") >= 2)
        it.module.faults.lose_twin_answers = False
        await assert_well(it, 2)


async def test_a_report_that_was_applied_without_an_answer_is_settled(tmp_path: Path) -> None:
    """The next session finds at the hub what it has, and sends only the rest."""
    async with rig(tmp_path) as it:
        await it.connected()
        it.module.faults.lose_twin_answers = it.module.faults.apply_unanswered = True
        it.client.report({"a": 1})
        await it.module.until(lambda module: module.reported.values == {"a": 1})
        it.module.faults.lose_twin_answers = it.module.faults.apply_unanswered = False
        it.client.report({"a": 1, "b": 2})
        await it.module.until(lambda module: module.reported.values == {"a": 1, "b": 2})

        patches = [note.detail for note in it.module.notes if note.what == "reported"]
        assert patches == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("code", [3, 4, 5])
async def test_a_refused_login_is_tried_again(tmp_path: Path, code: int) -> None:
    """A hub that starts, or a clock that is wrong for a while, refuses logins and recovers."""

    def before(hub: LocalHub, module: Module) -> None:
        module.faults.refuse = code

    async with rig(tmp_path, before=before) as it:
        await it.module.until(lambda module: module.count("connect") >= 2)
        it.module.faults.refuse = 0
        await assert_well(it, 1)


async def test_a_wrong_key_is_told(tmp_path: Path) -> None:
    """The error names who was refused and what to look at."""

    def before(hub: LocalHub, module: Module) -> None:
        hub.workload.faults.wrong_signature = True

    async with rig(tmp_path, before=before) as it:
        await it.until(lambda: it.client.state.last_error is not None)

        assert "refused edge1/registry: check its key and this machine's clock" in str(
            it.client.state.last_error
        )


async def test_an_untrusted_certificate_is_told(tmp_path: Path) -> None:
    """The error names the server and the reason of the TLS library."""

    def environment(hub: LocalHub, module: Module) -> dict[str, str]:
        return {"EdgeHubConnectionString": hub.connection_string(module)}

    async with rig(tmp_path, environment=environment) as it:
        await it.until(lambda: it.client.state.last_error is not None)

        assert "is not trusted" in str(it.client.state.last_error)
        assert it.client.state.sessions == 0


async def test_sessions_are_renewed_before_their_token_ends(tmp_path: Path) -> None:
    """A new session with a new token follows; nothing is lost and no error is told."""
    pace = Pace(
        first_delay=PACE.first_delay,
        longest_delay=PACE.longest_delay,
        report_every=PACE.report_every,
        token_life=timedelta(seconds=3),
    )
    async with rig(tmp_path, pace=pace) as it:
        for number in range(40):
            await it.emit("usage", {"n": number})
            await asyncio.sleep(0.1)
        await it.until(lambda: len({body["n"] for body in it.bodies()}) == 40)

        assert it.client.state.sessions >= 2
        assert it.hub.workload.count("sign") >= 2
        assert it.client.state.last_error is None


async def test_a_workload_api_that_fails_at_renewal_recovers(tmp_path: Path) -> None:
    """Failures to sign are tried again until they end."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        it.hub.workload.faults.status = 500
        it.hub.drop(it.module)
        await it.until(lambda: "failed to sign" in str(it.client.state.last_error))
        it.hub.workload.faults.status = 0
        await assert_well(it, 2)


async def test_a_workload_api_that_hangs_recovers(tmp_path: Path) -> None:
    """A call that is never answered has its limit and stops nothing else."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        it.hub.workload.faults.hang = True
        it.hub.drop(it.module)
        await it.until(lambda: "no answer within 1 s" in str(it.client.state.last_error))
        it.hub.workload.faults.hang = False
        await assert_well(it, 2)


async def test_an_unacknowledged_event_is_sent_again_under_its_id(tmp_path: Path) -> None:
    """At least once: a repetition is known by its message id."""
    async with rig(tmp_path) as it:
        await it.connected()
        it.module.faults.lose_acknowledgements = True
        event = await it.emit("usage", {"n": 1})
        await it.module.until(lambda module: len(module.telemetry) == 1)
        it.module.faults.lose_acknowledgements = False
        await it.module.until(lambda module: len(module.telemetry) == 2)
        await it.until(lambda: len(it.outbox) == 0)

        assert {message.message_id for message in it.module.telemetry} == {event.id}


async def test_no_event_is_lost_when_connections_drop_under_load(tmp_path: Path) -> None:
    """Every event arrives, and those that arrive again have the same id."""
    async with rig(tmp_path) as it:
        await it.connected()
        for number in range(150):
            await it.emit("usage", {"n": number})
            if number % 30 == 29:
                it.hub.drop(it.module)
                await it.until(lambda: not it.client.state.connected)
        await it.until(lambda: len({body["n"] for body in it.bodies()}) == 150)

        ids: dict[int, set[str | None]] = {}
        for message in it.module.telemetry:
            ids.setdefault(message.content["n"], set()).add(message.message_id)
        assert all(len(each) == 1 for each in ids.values())


async def test_a_half_open_connection_is_given_up(tmp_path: Path) -> None:
    """A hub that takes everything and answers nothing is noticed with the next call."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        it.module.faults.stall = True
        it.client.report({"while": "stalled"})
        await it.until(lambda: not it.client.state.connected)
        it.module.faults.stall = False
        await assert_well(it, 2)


async def test_a_silent_idle_connection_is_noticed(tmp_path: Path) -> None:
    """Without any call the keep-alive finds out."""
    limits = Limits(
        connect=LIMITS.connect,
        call=LIMITS.call,
        close=LIMITS.close,
        keep_alive=timedelta(seconds=1),
    )
    async with rig(tmp_path, limits=limits) as it:
        await it.connected()
        it.module.faults.stall = True
        await it.until(lambda: not it.client.state.connected)
        it.module.faults.stall = False
        await it.connected(2)


async def test_a_server_that_never_ends_its_handshake_is_given_up(tmp_path: Path) -> None:
    """A TLS black hole blocks the SDK's worker for the keep-alive at most."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        it.hub.stalled = True
        it.hub.drop(it.module)
        await it.until(lambda: "cannot connect" in str(it.client.state.last_error))
        it.hub.stalled = False
        await assert_well(it, 2)


async def test_subscriptions_that_are_never_confirmed_cost_one_session(tmp_path: Path) -> None:
    """A missing SUBACK has a limit of ours, and blocks no loop."""

    def before(hub: LocalHub, module: Module) -> None:
        module.faults.lose_subscriptions = True

    async with rig(tmp_path, before=before) as it:
        await it.until(lambda: "did not confirm subscriptions" in str(it.client.state.last_error))
        it.module.faults.lose_subscriptions = False
        await assert_well(it, 1)


async def test_a_twin_without_version_changes_nothing(tmp_path: Path) -> None:
    """An edgeHub that never reached the cloud knows nothing; what was known stays."""

    def before(hub: LocalHub, module: Module) -> None:
        module.patch_desired({"keep": 1})

    async with rig(tmp_path, before=before) as it:
        await it.connected()
        it.module.faults.twin_unknown = True
        it.hub.drop(it.module)
        await it.connected(2)
        it.module.faults.twin_unknown = False
        it.module.patch_desired({"more": 2})
        await it.until(lambda: len(it.desired) == 2)

        assert it.desired == [(2, {"keep": 1}), (3, {"keep": 1, "more": 2})]


async def test_an_unknown_twin_is_asked_for_until_it_is_known(tmp_path: Path) -> None:
    """Without a version nothing is handed over; once the hub knows, it is."""

    def before(hub: LocalHub, module: Module) -> None:
        module.patch_desired({"a": 1})
        module.faults.twin_unknown = True

    async with rig(tmp_path, before=before) as it:
        await it.module.until(lambda module: module.count("twin read") >= 2)
        assert it.desired == []
        it.module.faults.twin_unknown = False

        await it.until(lambda: it.desired == [(2, {"a": 1})])


@pytest.mark.parametrize("status", [429, 500])
async def test_a_refusal_that_may_pass_is_tried_again(tmp_path: Path, status: int) -> None:
    """Throttling and server errors delay a report and lose nothing."""
    async with rig(tmp_path) as it:
        await it.connected()
        it.module.faults.twin_status = status
        it.client.report({"a": 1})
        await it.until(lambda: it.client.state.sessions >= 1 and not it.client.state.connected)
        it.module.faults.twin_status = 0

        await it.module.until(lambda module: module.reported.values == {"a": 1})
        assert it.client.state.refused == ()


async def test_duplicated_desired_patches_count_once(tmp_path: Path) -> None:
    """A patch that comes twice is handed over once."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.module.faults.duplicate_desired = True
        for number in range(5):
            it.module.patch_desired({"n": number})
        await it.until(lambda: (6, {"n": 4}) in it.desired)
        await it.module.until(lambda module: module.count("twin read") >= 2)

        versions = [version for version, _ in it.desired]
        assert versions == sorted(set(versions))


async def test_reordered_desired_patches_end_in_the_right_document(tmp_path: Path) -> None:
    """A later patch that overtakes an earlier one does not undo it."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.module.faults.reorder_desired = True
        it.module.patch_desired({"first": 1, "both": "first"})
        it.module.patch_desired({"second": 2, "both": "second"})

        wanted = {"first": 1, "second": 2, "both": "second"}
        await it.until(lambda: it.desired and it.desired[-1] == (3, wanted))
        versions = [version for version, _ in it.desired]
        assert versions == sorted(set(versions))


async def test_a_lost_desired_patch_is_found_with_the_next(tmp_path: Path) -> None:
    """A gap in the versions makes the module read the whole twin."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.module.faults.lose_desired = True
        it.module.patch_desired({"lost": 1})
        it.module.faults.lose_desired = False
        it.module.patch_desired({"next": 2})

        await it.until(lambda: (3, {"lost": 1, "next": 2}) in it.desired)


async def test_a_lost_desired_patch_is_found_without_a_next(tmp_path: Path) -> None:
    """The twin is read from time to time, whatever comes."""
    pace = Pace(first_delay=PACE.first_delay, refresh=timedelta(seconds=0.3))
    async with rig(tmp_path, pace=pace) as it:
        await it.module.until(lambda module: module.ready)
        it.module.faults.lose_desired = True
        it.module.patch_desired({"lost": 1})

        await it.until(lambda: (2, {"lost": 1}) in it.desired)


async def test_a_replaced_twin_is_not_taken_for_a_patch(tmp_path: Path) -> None:
    """What a replacement left out is gone in the end, though its message does not say so."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.module.patch_desired({"old": 1})
        await it.until(lambda: (2, {"old": 1}) in it.desired)
        it.module.replace_desired({"new": 2})

        await it.until(lambda: it.desired[-1] == (3, {"new": 2}))


async def test_a_hub_whose_versions_went_back_is_handed_over_as_it_is(tmp_path: Path) -> None:
    """What to think of an older version is for the receiver to say, not for the client."""
    async with rig(tmp_path) as it:
        await it.module.until(lambda module: module.ready)
        it.module.patch_desired({"n": 1})
        await it.until(lambda: (2, {"n": 1}) in it.desired)
        it.module.desired.values, it.module.desired.version = {"made": "anew"}, 1
        it.hub.drop(it.module)

        await it.until(lambda: it.desired[-1] == (1, {"made": "anew"}))


async def test_another_client_with_the_same_identity_does_not_end_it(tmp_path: Path) -> None:
    """The hub drops the older of two; the module comes back once the other one is gone."""
    async with rig(tmp_path) as it:
        await assert_well(it, 1)
        other = await asyncio.to_thread(
            IoTHubModuleClient.create_from_connection_string,
            it.hub.connection_string(it.module),
            server_verification_cert=it.hub.authority.certificate,
            connection_retry=False,
        )
        await other.connect()
        await it.module.until(lambda module: module.count("taken over") >= 1)
        await other.shutdown()
        await assert_well(it, 2)


async def test_a_stuck_sdk_is_told_and_recovers_with_it(tmp_path: Path) -> None:
    """While the SDK's one worker hangs no further client is begun; afterwards all is well."""
    limits = Limits(
        make=timedelta(seconds=0.3),
        connect=LIMITS.connect,
        call=LIMITS.call,
        close=timedelta(seconds=0.3),
        keep_alive=LIMITS.keep_alive,
    )
    release = threading.Event()
    async with rig(tmp_path, limits=limits) as it:
        await assert_well(it, 1)
        try:
            pipeline_thread.invoke_on_pipeline_thread_nowait(release.wait)()
            it.hub.drop(it.module)
            await it.until(lambda: it.client.state.stuck_since is not None)
            before = threading.active_count()
            await it.until(lambda: "has not answered since" in str(it.client.state.last_error))
            assert threading.active_count() <= before
        finally:
            release.set()
        await it.until(lambda: it.client.state.connected)
        assert it.client.state.stuck_since is None
        await assert_well(it, 2)


async def test_an_outbox_that_fails_delays_events_and_ends_nothing(tmp_path: Path) -> None:
    """Storage trouble is waited out; the session and the rest of the traffic go on."""
    async with rig(tmp_path) as it:
        await it.connected()
        with contextlib.closing(sqlite3.connect(tmp_path / "registry.db")) as meddler:
            meddler.execute("ALTER TABLE outbox RENAME TO hidden")
            meddler.commit()
            it.client.wake()
            it.client.report({"while": "broken"})
            await it.module.until(lambda module: module.reported.values == {"while": "broken"})
            meddler.execute("ALTER TABLE hidden RENAME TO outbox")
            meddler.commit()
        await assert_well(it, 1)

        assert it.client.state.sessions == 1
