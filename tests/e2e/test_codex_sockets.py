"""The real Codex CLI over websockets, in two generations: what its user sees."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.simulator import Cut, Fail, FailEvent, Ok, Received, Reply, Simulator, ToolCall
from tests.conftest import missing
from tests.e2e.asking import send
from tests.e2e.codex import OLDER, Codex, Ran, find_codex
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

pytestmark = [pytest.mark.client, pytest.mark.parametrize("version", ["", OLDER], ids=["current", "older"])]

TEXT = "Hello from the simulator."


@pytest.fixture
def program(version: str) -> str:
    found = find_codex(version)
    if found is None:
        missing(f"the Codex CLI {version} (scripts/clients installs it)")
    assert found is not None
    return found


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("first")
    sim.add_account("second")
    return serve()


@pytest.fixture
def cli(program: str, tmp_path: Path, server: Server) -> Iterator[Codex]:
    yield Codex(program, tmp_path, server.base_url, websockets=True)


def assert_said(ran: Ran, text: str = TEXT) -> None:
    assert (ran.exit_code, ran.stdout) == (0, text), ran.stderr


def scripted(sim: Simulator, *replies: Reply) -> None:
    """One script for all: whoever is asked first answers with the first."""
    shared = deque(replies)
    for account in sim.accounts.values():
        account.replies = shared


def transports(server: Server) -> set[str]:
    return {row[0] for row in server.records("transport")}


def methods(sim: Simulator) -> set[str]:
    return {call.method for call in sim.responses()}


def turns(sim: Simulator) -> list[Received]:
    """Without the warm-ups, which ask for no answer."""
    frames = [call for call in sim.responses() if call.method == "WEBSOCKET"]
    return [call for call in frames if call.body and call.body.get("generate") is not False]


def test_a_plain_turn_prints_exactly_the_answer(cli: Codex, sim: Simulator, server: Server) -> None:
    assert_said(cli.exec("say hi"))
    assert server.wait_for_records(1) == [("success", 200, None, server.records("account_id")[0][0])]
    assert transports(server) == {"websocket"}
    assert methods(sim) == {"WEBSOCKET-HANDSHAKE", "WEBSOCKET"}
    assert sim.violations == []


def test_a_tool_call_runs_and_its_output_comes_back(cli: Codex, sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = ToolCall("echo marker-42")
    assert_said(cli.exec("-s", "danger-full-access", "run the tool"))
    last = sim.responses()[-1]
    outputs = [item for item in last.body["input"] if item["type"] == "function_call_output"]
    assert ["marker-42" in item["output"] for item in outputs] == [True]
    assert last.body["previous_response_id"]
    assert [row[0] for row in server.wait_for_records(2)] == ["success", "success"]
    assert len({call.connection for call in sim.responses()}) == 1
    assert sim.violations == []


def test_a_resumed_session_sends_its_history_to_the_same_account(cli: Codex, sim: Simulator) -> None:
    first_turn = cli.exec("first question")
    assert_said(first_turn)
    assert_said(cli.resume(first_turn, "second question"))
    assert len({call.account_id for call in sim.responses()}) == 1
    said = json.dumps([call.body for call in sim.responses()])
    assert "first question" in said and TEXT in said and "second question" in said
    assert sim.violations == []


def test_a_limited_account_is_passed_over_without_a_word(cli: Codex, sim: Simulator, server: Server) -> None:
    scripted(sim, Fail.usage_limit(resets_at=int(time.time()) + 3600))
    ran = cli.exec("say hi")
    assert_said(ran)
    assert "usage limit" not in ran.stderr.lower() and "ERROR" not in ran.stderr, ran.stderr
    assert {call.account_id for call in sim.responses()} == {"first", "second"}
    assert server.wait_for_records(1)[-1][0] == "success"
    assert sim.violations == []


@pytest.mark.parametrize("kind", ["response.failed", "error"])
def test_a_limit_in_the_middle_of_a_turn_is_survived(cli: Codex, sim: Simulator, kind: str) -> None:
    scripted(sim, FailEvent.usage_limit(resets_at=int(time.time()) + 3600, after=2, kind=kind, nested=True))
    assert_said(cli.exec("say hi"))
    assert {call.account_id for call in sim.responses()} == {"first", "second"}


@pytest.mark.parametrize("after", [0, 2])
def test_a_reset_of_the_upstream_socket_is_survived(cli: Codex, sim: Simulator, after: int) -> None:
    scripted(sim, Cut(after=after, reset=True))
    assert_said(cli.exec("say hi"))
    assert sim.violations == []


def test_a_server_error_is_survived(cli: Codex, sim: Simulator) -> None:
    scripted(sim, Fail.server_error())
    assert_said(cli.exec("say hi"))


def test_a_refused_token_is_renewed_without_a_word(cli: Codex, sim: Simulator) -> None:
    for account in sim.accounts.values():
        account.end_access()
    ran = cli.exec("say hi")
    assert_said(ran)
    assert "ERROR" not in ran.stderr
    refreshed = [call.account_id for call in sim.refreshes]
    assert refreshed and len(refreshed) == len(set(refreshed)), "each token once"


@pytest.mark.parametrize("status", [426, 404])
def test_an_upstream_without_websockets_is_asked_over_http(
    cli: Codex, sim: Simulator, server: Server, status: int
) -> None:
    sim.websocket_status = status
    assert_said(cli.exec("say hi"))
    assert sum(call.method == "WEBSOCKET-HANDSHAKE" for call in sim.journal) == 1
    assert "POST" in methods(sim)
    # What went on from a socket's own response is asked again, whole.
    until(
        lambda: server.wait_for_records(1)[-1][0] == "success", 10, "the turn that was answered is on record"
    )
    assert sim.violations == []


def test_a_handshake_that_one_account_is_refused_goes_to_the_other(cli: Codex, sim: Simulator) -> None:
    """Refused is whoever is asked first."""
    limited = Fail.usage_limit(resets_at=int(time.time()) + 3600)
    sim.refused_handshakes.append(limited)
    assert_said(cli.exec("one"))
    assert_said(cli.exec("two"))
    refused = [call.account_id for call in sim.responses() if call.status == 429]
    assert len(refused) == 1 and not sim.refused_handshakes
    assert {call.account_id for call in turns(sim)} == {"first", "second"} - set(refused)


def test_when_all_are_limited_it_prints_the_limit_and_the_time(
    cli: Codex, sim: Simulator, server: Server
) -> None:
    for account in sim.accounts.values():
        account.default = Fail.usage_limit(resets_at=int(time.time()) + 7200)
    ran = cli.exec("say hi")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert re.search(r"hit your usage limit.*try again at .*\d{1,2}:\d\d [AP]M", ran.stderr, re.I | re.S), (
        ran.stderr
    )
    turns = [call for call in sim.responses() if call.method == "WEBSOCKET"]
    assert sorted(call.account_id or "" for call in turns) == ["first", "second"]
    status, code, error, _ = server.wait_for_records(1)[-1]
    assert (status, code, error) == ("error", 429, "usage_limit_reached")


def test_eight_at_once_are_spread_and_none_waits_for_another(
    program: str, tmp_path: Path, sim: Simulator, server: Server
) -> None:
    # The one strategy that leaves nothing to chance.
    body = b'{"routingStrategy": "usage_weighted"}'
    assert send(server, "PUT", "/api/settings", body, {"Content-Type": "application/json"}).status == 200
    for account in sim.accounts.values():
        # None is answered before all have been asked.
        account.default = Ok(together=8)
    clis = [Codex(program, tmp_path / str(n), server.base_url, websockets=True) for n in range(8)]
    running = [each.start("exec", "--skip-git-repo-check", "say hi") for each in clis]
    ended = [each.communicate(timeout=120) for each in running]
    assert [each.returncode for each in running] == [0] * 8, ended
    assert len(turns(sim)) == 8, "each was asked once"
    assert {call.account_id for call in turns(sim)} == {"first", "second"}
    assert len({call.connection for call in turns(sim)}) == 8
    assert sim.violations == []


def test_a_turn_over_a_server_that_is_replaced_goes_on(
    cli: Codex, sim: Simulator, server: Server, prepared: Start
) -> None:
    """The old server closes the socket while the tool runs; the next turn finds the new one."""
    successor = prepared()
    successor.port = server.port
    for account in sim.accounts.values():
        account.default = ToolCall("sleep 5; echo marker-42")
    running = cli.start("exec", "--skip-git-repo-check", "-s", "danger-full-access", "run the tool")
    until(lambda: len(server.records()) == 1, 20, "the first turn is over")
    assert server.stop() == 0, server.log
    successor.start()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out.strip()) == (0, TEXT), err
    assert [row[0] for row in successor.wait_for_records(1)] == ["success"]
    assert successor.stop() == 0


def test_a_silent_upstream_does_not_wear_out_the_clients_patience(
    program: str, tmp_path: Path, sim: Simulator, server: Server
) -> None:
    """Keep-alives count for its idle timer, which is shorter here than the silence: either way."""

    def started(websockets: bool, reply: Ok) -> subprocess.Popen[str]:
        for account in sim.accounts.values():
            account.default = reply
        folder = tmp_path / str(websockets)
        cli = Codex(program, folder, server.base_url, websockets=websockets, stream_idle_timeout_ms=12_000)
        return cli.start("exec", "--skip-git-repo-check", "say hi")

    socket = started(True, Ok(first_event_s=14.0))
    until(lambda: turns(sim), 30, "upstream is asked over a websocket")
    # Over HTTP the timer begins with the 200, which comes late to a client of a silent upstream.
    http = started(False, Ok(deltas=1, interval_s=14.0))
    for each in (socket, http):
        _, err = each.communicate(timeout=60)
        assert each.returncode == 0, err
    server.wait_for_records(2)
    # A client that loses its patience asks again.
    assert sorted(row[0] for row in server.records("transport")) == ["http", "websocket"]
