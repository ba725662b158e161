"""Compactions: the real Codex CLI of two generations, the real SDK, and what they sent, replayed."""

from __future__ import annotations

import http.client
import json
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.simulator import Fail, Ok, Silence, SimAccount, Simulator, Usage, encrypted_owner
from tests.conftest import missing
from tests.e2e.asking import Answer, ask, message, send, turn
from tests.e2e.codex import OLDER, Codex, find_codex
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until
from tests.e2e.test_recorded import FOLDER, turns

COMPACT = "/backend-api/codex/responses/compact"
V1_COMPACT = "/v1/responses/compact"
SESSION = "01a205a7-f3a7-7281-aaf5-009f4e6df866"
TEXT = "Hello from the simulator."
# Every turn is over the limit at which the CLI compacts.
COMPACTS = "model_auto_compact_token_limit = 2000"


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("ada")
    sim.add_account("bob")
    return serve()


def compact(server: Server, *items: dict[str, Any], path: str = COMPACT, **fields: Any) -> Answer:
    body = {"model": "gpt-5.5", "input": list(items) or [message("hello")], **fields}
    headers = {"Content-Type": "application/json", "session-id": SESSION}
    return send(server, path=path, body=json.dumps(body).encode(), headers=headers)


def owner_of(item: dict[str, Any]) -> str | None:
    return encrypted_owner(item["encrypted_content"])


def other_than(sim: Simulator, account_id: str | None) -> SimAccount:
    return next(account for account in sim.accounts.values() if account.id != account_id)


@pytest.mark.client
@pytest.mark.parametrize("websockets", [False, True], ids=["http", "websockets"])
@pytest.mark.parametrize("has_endpoint", [True, False], ids=["endpoint", "no endpoint"])
@pytest.mark.parametrize("version", ["", OLDER], ids=["current", "older"])
def test_the_real_cli_compacts_and_goes_on(
    version: str, has_endpoint: bool, websockets: bool, sim: Simulator, server: Server, tmp_path: Path
) -> None:
    program = find_codex(version)
    if program is None:
        missing(f"the Codex CLI {version} (scripts/clients installs it)")
    assert program is not None
    if not has_endpoint:
        sim.compact_status = 404
    for account in sim.accounts.values():
        account.default = Ok(usage=Usage(input_tokens=5000))
    # Only for its own provider does the CLI let the server compact.
    cli = Codex(program, tmp_path, server.base_url, websockets=websockets, name="OpenAI", settings=COMPACTS)
    first = cli.exec("first question")
    for ran in (first, cli.resume(first, "second question")):
        assert (ran.exit_code, ran.stdout) == (0, TEXT), ran.stderr

    last = sim.responses()[-1]
    (item,) = [item for item in last.body["input"] if item["type"] == "compaction"]
    assert owner_of(item) == last.account_id
    assert "second question" in json.dumps(last.body["input"])
    at_endpoint = [call for call in sim.responses() if call.path.endswith("/compact") and call.status == 200]
    assert bool(at_endpoint) == (version == OLDER and has_endpoint)
    assert sim.violations == []
    assert {row[0] for row in server.wait_for_records(3)} == {"success"}


@pytest.mark.parametrize("has_endpoint", [True, False], ids=["endpoint", "no endpoint"])
def test_the_real_sdk_compacts_and_goes_on(has_endpoint: bool, sim: Simulator, client: openai.OpenAI) -> None:
    if not has_endpoint:
        sim.compact_status = 404
    compacted = client.responses.compact(model="gpt-5.5", input="a long conversation", instructions="brief")
    assert compacted.object == "response.compaction"
    assert [item.type for item in compacted.output] == ["compaction"]
    assert compacted.usage.input_tokens == 100

    history: Any = [item.to_dict() for item in compacted.output] + [{"role": "user", "content": "go on"}]
    assert client.responses.create(model="gpt-5.5", input=history).output_text == TEXT
    assert sim.violations == []


def test_upstreams_answer_comes_unchanged_and_is_on_record(sim: Simulator, server: Server) -> None:
    answer = compact(server, instructions="brief", tools=[], text={"verbosity": "low"})
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    assert set(answer.json()) == {"id", "object", "created_at", "output", "usage"}
    (call,) = sim.responses()
    assert call.body == {
        "model": "gpt-5.5",
        "input": [message("hello")],
        "instructions": "brief",
        "tools": [],
        "text": {"verbosity": "low"},
    }
    server.wait_for_records(1)
    columns = "path, status, status_code, account_id, model, input_tokens, conversation"
    (row,) = server.records(columns)
    assert (row[0], row[1], row[2], row[4], row[5], row[6]) == (
        COMPACT,
        "success",
        200,
        "gpt-5.5",
        100,
        SESSION,
    )


def test_who_compacts_in_anothers_place_keeps_the_conversation(sim: Simulator, server: Server) -> None:
    first = ask(server, turn(message("hello")), SESSION)
    owner = sim.accounts[sim.responses()[0].account_id or ""]
    other = other_than(sim, owner.id)
    owner.replies = deque([Fail.usage_limit(resets_at=int(time.time()) + 60)])

    compacted = compact(server, message("hello"), *first.output)

    assert compacted.status == 200
    (item,) = compacted.json()["output"]
    assert owner_of(item) == other.chatgpt_account_id
    assert "encrypted_content" not in json.dumps(sim.responses()[-1].body)
    again = ask(server, turn(item, message("go on")), SESSION)
    assert (again.status, again.text, sim.responses()[-1].account_id) == (200, TEXT, other.id)
    assert sim.violations == []


def test_a_client_that_leaves_ends_the_compaction(sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = Silence()
    body = json.dumps({"model": "gpt-5.5", "input": [message("hello")]})
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("POST", COMPACT, body, {"Content-Type": "application/json"})
        until(sim.responses, 10, "upstream is asked")
    until(lambda: sim.responses()[0].closed_by_client, 10, "upstream is left")
    assert [row[0] for row in server.wait_for_records(1)] == ["cancelled"]
    assert len(sim.responses()) == 1


def test_when_nobody_can_compact_the_client_gets_the_limit(sim: Simulator, server: Server) -> None:
    resets_at = int(time.time()) + 600
    for account in sim.accounts.values():
        account.default = Fail.usage_limit(resets_at=resets_at)
    answer = compact(server)
    assert answer.status == 429
    assert (answer.error["type"], answer.error["resets_at"]) == ("usage_limit_reached", resets_at)


@pytest.mark.parametrize("path", [COMPACT, V1_COMPACT])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "compaction_trigger"}, message("x")]}, "input[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
def test_a_wrong_request_names_what_is_wrong(
    path: str, fields: dict[str, Any], param: str, server: Server
) -> None:
    answer = compact(server, path=path, **fields)
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize(
    "name", ["codex118_chatgpt_OpenAI_compact_turn2", "codex_envkey_nameOpenAI_sse_compact_turn2"]
)
def test_what_two_generations_of_the_cli_sent_is_accepted(name: str, sim: Simulator, server: Server) -> None:
    made: list[dict[str, Any]] = []
    recorded = turns(FOLDER / f"{name}.json", "/responses", "/compact")
    for request in recorded:
        headers = {
            name: value for name, value in request["headers"] if name.lower() in ("session_id", "session-id")
        }
        # A compaction of the recording's own upstream could be read by nobody here.
        items = [made[-1] if item.get("type") == "compaction" else item for item in request["body"]["input"]]
        body = {**request["body"], "input": items}
        answer = send(server, path=request["path"], body=json.dumps(body).encode(), headers=headers)
        assert answer.status == 200, answer.body
        assert sim.responses()[-1].body == body
        output = answer.json()["output"] if request["path"].endswith("/compact") else answer.output
        made += [item for item in output if item["type"] == "compaction"]
    assert made and len({call.account_id for call in sim.responses()}) == 1
    assert sim.violations == []


def test_what_the_sdk_sent_is_accepted(sim: Simulator, server: Server) -> None:
    (request,) = turns(FOLDER / "sdk_compact.json", "/compact")
    answer = send(server, path=request["path"], body=json.dumps(request["body"]).encode())
    assert answer.status == 200
    (call,) = sim.responses()
    assert call.body["input"] == [message("hi")]
    assert sim.violations == []
