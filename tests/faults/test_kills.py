"""Processes that are killed, or told to end, while they are asked: what was answered is on record."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.simulator import Ok, Simulator
from tests.e2e.asking import ask
from tests.e2e.conftest import Start
from tests.e2e.server import SERVE, Server, family, until
from tests.faults.conftest import QUIET
from tests.faults.load import Load, loaded, metric, recorded
from tests.faults.settled import assert_states

# What ended longer ago than this before a kill -9 is on record.
SETTLED_S = 1.0
LOAD_S = 3.0
# And a bound for a machine that has no time.
ASKED, ASKED_WITHIN_S = 100, 60.0


@pytest.fixture
def accounts(sim: Simulator) -> None:
    for name in ("first", "second"):
        sim.add_account(name).default = Ok(deltas=5, interval_s=0.01)


def started(prepared: Start, workers: int) -> Server:
    server = prepared(**QUIET)
    return server.start((*SERVE, "--port", str(server.port), "--workers", str(workers)))


def let_them_ask(load: Load) -> None:
    """For a while, and until many were answered."""
    time.sleep(LOAD_S)
    until(lambda: load.outcomes()["complete"] > ASKED, ASKED_WITHIN_S, "many were answered")


def assert_on_record(server: Server, load: Load, before: float) -> None:
    records = recorded(server)
    missing = sorted(load.answered(before=before) - set(records))
    assert missing == [], f"{len(missing)} of {len(load.ended)} are not on record"
    assert [request_id for request_id, number in records.items() if number > 1] == []


def open_sockets(pid: int) -> int:
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def kill(pids: list[int]) -> float:
    moment = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return moment


def test_a_worker_that_is_killed_is_replaced_and_what_had_settled_is_on_record(
    accounts: None, prepared: Start
) -> None:
    server = started(prepared, 2)
    with loaded(server) as load:
        let_them_ask(load)
        # One of them may have nobody to answer.
        victim = max(family(server.pid)[1:], key=open_sockets)
        killed_at = kill([victim])
        until(lambda: len(family(server.pid)) == 3 and victim not in family(server.pid), 10, "it is replaced")
        time.sleep(LOAD_S / 2)
    assert 1 <= load.outcomes()["broken"] < 20
    assert "broken" not in load.outcomes(since=killed_at + 1)
    assert_on_record(server, load, killed_at - SETTLED_S)
    until(lambda: metric(server, "codexproxy_open_requests") == 0, 10, "nothing counts as open")
    assert server.stop() == 0, server.log
    # The other worker and the new one have lost nothing at all; of the dead one's last second some may be.
    lost = load.answered() - set(recorded(server))
    assert {each.request_id for each in load.ended if abs(each.at - killed_at) < SETTLED_S} >= lost
    assert_states(server)


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_kill_of_all_processes_what_had_settled_is_on_record(
    accounts: None, prepared: Start, workers: int
) -> None:
    server = started(prepared, workers)
    with loaded(server) as load:
        let_them_ask(load)
        killed_at = kill(family(server.pid))
        assert server.wait() == -signal.SIGKILL
    assert_on_record(server, load, killed_at - SETTLED_S)
    assert_states(server)
    # On the same data, with all that was known.
    started_again = server.start()
    assert ask(started_again).status == 200
    assert started_again.stop() == 0
    assert_states(server)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_clean_stop_under_load_breaks_no_answer_and_loses_no_record(
    accounts: None, sim: Simulator, prepared: Start, workers: int
) -> None:
    sim.accounts["first"].default = Ok(deltas=40, interval_s=0.03)
    server = started(prepared, workers)
    with loaded(server) as load:
        time.sleep(LOAD_S)
        told_at = time.monotonic()
        server.terminate()
        assert server.wait() == 0, server.log
        ended_at = time.monotonic()
    assert ended_at - told_at < 10
    # Whoever was being answered got all of it; what came in the very moment of the end may find nobody.
    for each in load.ended:
        assert each.outcome == "complete" or each.began > told_at - 0.2, each
    assert load.outcomes()["complete"] > 15
    assert_on_record(server, load, float("inf"))
    assert [row for row in server.records("status") if row != ("success",)] == []
    assert_states(server)


def test_a_second_sigterm_ends_at_once_and_still_loses_no_record_that_had_settled(
    accounts: None, sim: Simulator, prepared: Start
) -> None:
    for account in sim.accounts.values():
        account.script(*[Ok(deltas=5)] * 40)
        account.default = Ok(deltas=3000, interval_s=0.1)
    server = started(prepared, 1)
    with loaded(server, clients=2) as load:
        until(lambda: len(load.ended) >= 60, 20, "some have ended")
        time.sleep(SETTLED_S)
        told_at = time.monotonic()
        server.terminate()
        time.sleep(0.3)
        server.terminate()
        server.wait()
        assert time.monotonic() - told_at < 10
    assert_on_record(server, load, told_at - SETTLED_S)
    assert_states(server)
