"""The real Codex CLI in front of the server: what its user sees."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from proxy.simulator import Fail, Ok, Reply, Served, Simulator, ToolCall
from tests.e2e.codex import Codex, Ran
from tests.e2e.conftest import Start
from tests.e2e.relay import Relay, relaying
from tests.e2e.server import Server

pytestmark = pytest.mark.client

TEXT = "Hello from the simulator."


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("first")
    sim.add_account("second")
    return serve()


@pytest.fixture
def watched(server: Server) -> Iterator[Relay]:
    """Stands between the CLI and the server, and counts."""
    with relaying(server.base_url) as relay:
        yield relay


@pytest.fixture
def cli(codex: Callable[[str], Codex], watched: Relay) -> Codex:
    return codex(watched.base_url)


def assert_said(ran: Ran, text: str = TEXT) -> None:
    assert (ran.exit_code, ran.stdout) == (0, text), ran.stderr


def test_a_plain_turn_prints_exactly_the_answer(cli: Codex, sim: Simulator, watched: Relay) -> None:
    assert_said(cli.exec("say hi"))
    assert len(watched.bodies) == 1
    assert len(sim.responses()) == 1
    assert sim.violations == []


def test_a_tool_call_runs_and_its_output_comes_back(cli: Codex, sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = ToolCall("echo marker-42")
    assert_said(cli.exec("-s", "danger-full-access", "run the tool"))
    first, second = sim.responses()
    outputs = [item for item in second.body["input"] if item["type"] == "function_call_output"]
    assert ["marker-42" in item["output"] for item in outputs] == [True]
    assert first.account_id == second.account_id
    assert [row[0] for row in server.wait_for_records(2)] == ["success", "success"]
    assert sim.violations == []


def test_a_resumed_session_sends_its_history_to_the_same_account(cli: Codex, sim: Simulator) -> None:
    first_turn = cli.exec("first question")
    assert_said(first_turn)
    assert_said(cli.resume(first_turn, "second question"))
    first, second = sim.responses()
    assert first.account_id == second.account_id
    said = json.dumps(second.body["input"])
    assert "first question" in said and TEXT in said and "second question" in said
    assert sim.violations == []


def test_a_limited_account_is_passed_over_without_a_word(
    cli: Codex, sim: Simulator, server: Server, watched: Relay
) -> None:
    # One script for both: whoever is asked first is limited.
    shared: deque[Reply] = deque([Fail.usage_limit(resets_at=int(time.time()) + 3600)])
    for account in sim.accounts.values():
        account.replies = shared
    ran = cli.exec("say hi")
    assert_said(ran)
    limited, served = sim.responses()
    assert (limited.status, served.status) == (429, 200)
    assert served.account_id != limited.account_id
    assert "usage limit" not in ran.stderr.lower()
    assert len(watched.bodies) == 1
    (attempts,) = server.attempts()
    assert [attempt["outcome"] for attempt in attempts] == ["limit reached", "served"]


def test_when_all_are_limited_it_prints_the_limit_and_the_time_after_one_call(
    cli: Codex, sim: Simulator, server: Server, watched: Relay
) -> None:
    resets_at = int(time.time()) + 7200
    for account in sim.accounts.values():
        account.default = Fail.usage_limit(resets_at=resets_at)
    ran = cli.exec("say hi")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert re.search(r"hit your usage limit.*try again at .*\d{1,2}:\d\d [AP]M", ran.stderr, re.I | re.S), (
        ran.stderr
    )
    assert len(watched.bodies) == 1
    assert sorted(call.account_id or "" for call in sim.responses()) == ["first", "second"]
    assert server.wait_for_records(1) == [("error", 429, "usage_limit_reached", "")]


def test_an_output_schema_reaches_the_upstream(cli: Codex, sim: Simulator) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    (cli.work / "schema.json").write_text(json.dumps(schema))
    answer = '{"answer":"yes"}'
    for account in sim.accounts.values():
        account.default = Ok(answer)
    assert_said(cli.exec("--output-schema", "schema.json", "give json"), answer)
    (call,) = sim.responses()
    assert call.body["text"]["format"]["schema"] == schema
    assert sim.violations == []


def test_the_body_reaches_the_upstream_byte_for_byte(
    codex: Callable[[str], Codex], sim: Simulator, prepared: Start, upstream: Served
) -> None:
    sim.add_account("only")
    with relaying(upstream.base_url) as behind:
        server = prepared(CODEXPROXY_UPSTREAM_BASE_URL=f"{behind.base_url}/backend-api").start()
        with relaying(server.base_url) as before:
            assert_said(codex(before.base_url).exec("say hi"))
            assert len(before.bodies) == 1
            assert behind.bodies[-1] == before.bodies[0]
        assert server.stop() == 0
    assert sim.violations == []
