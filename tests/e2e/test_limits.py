"""Limits of keys over two processes: never more than there is room for, and a dead one keeps nothing."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.simulator import Fail, Ok, Silence, Simulator, Usage
from tests.e2e.asking import Answer, ask, at_once, send, turn, upload
from tests.e2e.conftest import Start
from tests.e2e.postgres import postgres
from tests.e2e.server import Server, until
from tests.e2e.test_keys import KEYS, api, ask_with, make_key, usage


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Named, since each server would have one of its own."""
    if request.param == "sqlite":
        yield sqlite(tmp_path)
        return
    with postgres() as url:
        yield {"CODEXPROXY_DATABASE_URL": url}


def sqlite(folder: Path) -> dict[str, str]:
    return {"CODEXPROXY_DATABASE_URL": f"sqlite:///{folder / 'limits.sqlite3'}"}


def connected(database: dict[str, str]) -> sqlite3.Connection | psycopg.Connection:
    url = database["CODEXPROXY_DATABASE_URL"]
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)
    return psycopg.connect(url)


def used_of(server: Server, key: str) -> list[int]:
    return [each["current_value"] for each in usage(server, key).json()["limits"]]


def limit(most: int, kind: str = "requests", **fields: Any) -> dict[str, Any]:
    return {"limitType": kind, "limitWindow": "daily", "maxValue": most, **fields}


def two_processes(sim: Simulator, prepared: Start, environment: dict[str, str]) -> tuple[Server, Server]:
    """On one database, with one account."""
    accounts = list(sim.accounts.values())
    sim.accounts.clear()  # before there are tables nothing can be imported
    first = prepared(**environment).start()
    second = prepared(**environment, CODEXPROXY_DATA_DIR=str(first.data_dir)).start()
    for account in accounts:
        sim.accounts[account.id] = account
        assert upload(first, json.dumps(account.auth_json()).encode()).status == 200
    return first, second


def test_of_two_hundred_at_once_ten_are_served(
    sim: Simulator, prepared: Start, database: dict[str, str]
) -> None:
    sim.add_account("only").default = Ok(first_event_s=0.5)
    servers = two_processes(sim, prepared, database)
    key_id, key = make_key(servers[0], limits=[limit(10)])
    until(lambda: usage(servers[1], key).status == 200, 10, "the other process knows the key")

    answers = at_once(200, lambda number: ask_with(servers[number % 2], key))

    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (10, 190)
    assert len(sim.responses()) == 10
    refused = next(answer for answer in answers if answer.status == 429).error
    assert (refused["type"], type(refused["resets_at"])) == ("usage_limit_reached", int)
    for server in servers:
        assert ask_with(server, key).status == 429
    until(lambda: used_of(servers[0], key) == [10], 10, "all ten are settled")
    # The other half of the budget's life: more room, and the next ones are served.
    api(servers[1], "PATCH", f"{KEYS}{key_id}", {"limits": [limit(12)]})
    answers = at_once(20, lambda number: ask_with(servers[number % 2], key))
    assert [answer.status for answer in answers].count(200) == 2
    assert [server.stop() for server in servers] == [0, 0]


def test_what_a_killed_process_held_comes_back(
    sim: Simulator, prepared: Start, database: dict[str, str]
) -> None:
    sim.add_account("only").script(Silence())
    first, second = two_processes(sim, prepared, database)
    _, key = make_key(first, limits=[limit(1)])
    until(lambda: usage(second, key).status == 200, 10, "the other process knows the key")
    with closing(in_flight(first, sim, key)):
        assert ask_with(second, key).status == 429
        os.kill(first.pid, signal.SIGKILL)
    assert ask_with(second, key).status == 429
    # Nobody prolongs it any more; we do not wait for its end but put it into the past.
    with closing(connected(database)) as connection, connection:
        moved = connection.execute("UPDATE proxy_reservation SET expires_at = '2020-01-01 00:00:00'")
        assert moved.rowcount == 1
    assert ask_with(second, key).status == 200
    assert ask_with(second, key).status == 429
    assert second.stop() == 0


def in_flight(server: Server, sim: Simulator, key: str) -> http.client.HTTPConnection:
    """A request that upstream has and does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Content-Type": "application/json", "x-api-key": key}
    connection.request("POST", "/v1/responses", json.dumps(turn()), headers)
    until(sim.responses, 10, "upstream is asked")
    return connection


def test_a_client_that_leaves_gives_its_room_back(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").script(Silence())
    server = serve()
    _, key = make_key(server, limits=[limit(1)])
    with closing(in_flight(server, sim, key)):
        assert ask_with(server, key).status == 429
    until(lambda: ask_with(server, key).status == 200, 10, "the room is there again")


def test_who_hangs_up_before_the_last_event_has_used_something(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").script(Ok(deltas=400, interval_s=0.02))
    server = serve()
    _, key = make_key(server, limits=[limit(1), limit(100_000, "output_tokens")])
    with closing(in_flight(server, sim, key)) as connection:
        assert b"response.output_text.delta" in connection.getresponse().read(4000)
    requests, outputs = until(lambda: spent_of(server, key), 10, "what it has got is settled")
    assert requests == 1
    assert 0 < outputs < 400
    assert ask_with(server, key).status == 429


def spent_of(server: Server, key: str) -> list[int] | None:
    used = used_of(server, key)
    return used if used[0] else None


def test_a_failure_costs_nothing_and_tokens_are_counted(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    server = serve()
    _, key = make_key(server, limits=[limit(1000, "total_tokens"), limit(5)])

    def used() -> list[int]:
        (listed,) = api(server, "GET", KEYS)
        return [row["currentValue"] for row in listed["limits"]]

    account.script(Fail(400, {"error": {"message": "no", "code": "bad"}}))
    assert ask_with(server, key).status == 400
    account.script(Ok(usage=Usage(input_tokens=600, output_tokens=50)))
    assert ask_with(server, key).status == 200
    until(lambda: used() == [650, 1], 10, "the real figures are settled")
    # There is room, so the next one is served, however much it then uses.
    account.script(Ok(usage=Usage(input_tokens=600, output_tokens=50)))
    assert ask_with(server, key).status == 200
    until(lambda: used() == [1300, 2], 10, "the real figures are settled")
    assert ask_with(server, key).error["message"].startswith("API key total_tokens daily limit exceeded")


def test_over_a_limit_reading_stays_possible(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    _, key = make_key(server, limits=[limit(1)])
    assert ask_with(server, key, "/v1/responses").status == 200
    refused = until(lambda: _refused(ask_with(server, key, "/v1/responses")), 10, "the limit holds")
    assert (refused.error["code"], refused.error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
    assert 0 < int(refused.header("retry-after")) <= 24 * 3600
    assert "API key requests daily limit exceeded" in refused.error["message"]
    assert usage(server, key).json()["limits"][0]["remaining_value"] == 0
    assert send(server, "GET", "/v1/models", headers={"x-api-key": key}).status == 200
    assert ask(server).status == 200  # who needs no key is not concerned


def _refused(answer: Answer) -> Answer | None:
    return answer if answer.status == 429 else None
