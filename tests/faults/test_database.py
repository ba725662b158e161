"""A database that is locked, full or gone for a while: clients are served on, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import psycopg
import pytest

from proxy.simulator import Fail, Ok, Simulator
from tests.e2e.asking import ask, send, upload
from tests.e2e.conftest import Start
from tests.e2e.database import IS_POSTGRES
from tests.e2e.postgres import postgres
from tests.e2e.server import Server, until
from tests.e2e.test_keys import ask_with, make_key
from tests.faults.conftest import QUIET
from tests.faults.database import disk, durable, locked, restart_postgres
from tests.faults.load import Load, loaded, metric, recorded
from tests.faults.settled import assert_states

only_sqlite = pytest.mark.skipif(IS_POSTGRES, reason="it is about SQLite, or brings its own server")
# Longer than any statement waits for a lock, so that each has failed once at least.
LOCKED_S = [7.0, pytest.param(30.0, marks=pytest.mark.full)]
# Less than any statement waits for a lock: who took so long has waited for one.
NOTICED_S = 4.5


@pytest.fixture
def accounts(sim: Simulator) -> None:
    for name in ("first", "second", "third"):
        sim.add_account(name).default = Ok(deltas=5)


def conversation(number: int) -> dict[str, str]:
    return {"session-id": f"conversation-{number % 40}"}


def assert_all_on_record(server: Server, load: Load, timeout_s: float = 15.0) -> None:
    until(lambda: load.answered() <= set(recorded(server)), timeout_s, "all records are written")
    assert [number for number in recorded(server).values() if number > 1] == []
    assert metric(server, "codexproxy_records_lost_total") == 0


def assert_undisturbed(load: Load) -> None:
    assert set(load.outcomes()) == {"complete"}
    assert max(each.took_s for each in load.ended) < NOTICED_S


@pytest.mark.parametrize("seconds", LOCKED_S)
def test_while_the_database_is_locked_everybody_is_served_and_all_is_written_afterwards(
    accounts: None, sim: Simulator, prepared: Start, seconds: float
) -> None:
    server = prepared(**QUIET).start()
    # The first visit of a dashboard makes its operator.
    assert send(server, "GET", "/admin/accounts/account/").status == 200
    with loaded(server, pause_s=0.05, headers=conversation) as load:
        time.sleep(1)
        with locked(server):
            sim.accounts["first"].default = Fail.usage_limit(resets_in_seconds=3000)
            time.sleep(seconds)
            assert send(server, "GET", "/admin/accounts/account/").status == 200
            asked = len(sim.responses("first"))
        time.sleep(1)
    assert_undisturbed(load)
    assert_all_on_record(server, load)
    # What was learned meanwhile: who is limited, and whose conversations they are.
    status = "SELECT status FROM accounts_account WHERE email = ?"
    until(lambda: server.query(status, "first@example.com") == [("rate_limited",)], 10, "the limit is stored")
    assert len(sim.responses("first")) == asked
    known = "SELECT count(*) FROM proxy_stickysession WHERE substr(key, 1, 13) = 'conversation-'"
    until(lambda: server.query(known) == [(40,)], 10, "the conversations are stored")
    assert server.stop() == 0, server.log
    assert_states(server, limited=("first@example.com",))


def test_a_key_whose_limits_cannot_be_looked_at_is_refused_soon_and_served_again_afterwards(
    accounts: None, prepared: Start
) -> None:
    server = prepared(**QUIET).start()
    _, key = make_key(server, limits=[{"limitType": "requests", "limitWindow": "daily", "maxValue": 1000}])
    until(lambda: ask_with(server, key).status == 200, 10, "the key is known")
    with locked(server):
        began = time.monotonic()
        answer = ask_with(server, key)
        assert (answer.status, answer.error["code"]) == (503, "limits_unavailable")
        assert time.monotonic() - began < 12
        assert ask(server).status == 200
    until(lambda: ask_with(server, key).status == 200, 10, "there is room to be had again")
    assert_states(server)


def test_a_stop_waits_for_a_lock_that_ends(accounts: None, prepared: Start) -> None:
    server = prepared(**QUIET).start()
    with locked(server):
        with loaded(server, pause_s=0.05, headers=conversation) as load:
            time.sleep(2)
        server.terminate()
        time.sleep(4)
    assert server.wait() == 0, server.log
    assert load.answered() == set(recorded(server))
    assert_states(server)


def test_a_stop_does_not_wait_for_ever_and_says_what_is_lost(accounts: None, prepared: Start) -> None:
    server = prepared(**QUIET).start()
    with locked(server):
        with loaded(server, pause_s=0.05, headers=conversation):
            time.sleep(1)
        began = time.monotonic()
        server.terminate()
        assert server.wait() == 1
        assert time.monotonic() - began < 25
    assert "request records are lost" in server.log
    assert_states(server)


@only_sqlite
def test_on_a_full_disk_everybody_is_served_and_all_is_written_when_there_is_room(
    accounts: None, sim: Simulator, prepared: Start, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk") as volume:
        server = prepared(**QUIET)
        file = volume.folder / "codexproxy.sqlite3"
        server.environment["CODEXPROXY_DATABASE_URL"] = f"sqlite:///{file}"
        server.database.file = file
        assert server.manage("migrate", "--verbosity", "0").returncode == 0
        server.import_accounts(sim.accounts.values())
        server.start()
        with loaded(server, pause_s=0.05) as load:
            time.sleep(1)
            volume.fill(server)
            time.sleep(6)
            waiting = metric(server, "codexproxy_records_waiting")
            assert server.readiness() == 200
            volume.free(server)
            time.sleep(1)
        assert waiting > 10, "the disk was not full"
        assert_undisturbed(load)
        assert_all_on_record(server, load)
        assert server.stop() == 0, server.log
        assert_states(server)
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@only_sqlite
def test_a_restart_of_postgresql_under_load_disturbs_nobody_and_loses_nothing(
    accounts: None, sim: Simulator, prepared: Start
) -> None:
    with postgres() as url:
        durable(url)
        found = list(sim.accounts.values())
        sim.accounts.clear()  # before there are tables nothing can be imported
        server = prepared(**QUIET, CODEXPROXY_DATABASE_URL=url).start()
        for account in found:
            sim.accounts[account.id] = account
            assert upload(server, json.dumps(account.auth_json()).encode()).status == 200
        until(lambda: ask(server).status == 200, 10, "the accounts are known")
        with loaded(server, pause_s=0.05, headers=conversation) as load:
            time.sleep(1)
            restart_postgres(url)
            page = send(server, "GET", "/admin/accounts/account/")
            assert page.status == 200, "the first page after it finds a connection that works"
            time.sleep(1)
        assert_undisturbed(load)
        assert metric(server, "codexproxy_records_lost_total") == 0
        assert server.stop() == 0, server.log
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT request_id FROM requestlogs_requestrecord").fetchall()
            states = connection.execute("SELECT DISTINCT status FROM accounts_account").fetchall()
        assert states == [("active",)]
        assert load.answered() <= {request_id for (request_id,) in rows}
