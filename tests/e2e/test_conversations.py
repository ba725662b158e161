"""A conversation and its encrypted items, when its account can or cannot go on."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proxy.simulator import Fail, Ok, SimAccount, Simulator, ToolCall, encrypted_content, encrypted_owner
from tests.e2e.asking import ask, at_once, message, turn
from tests.e2e.conftest import Start
from tests.e2e.server import SERVE, Server, until

SESSION = "01a205a7-f3a7-7281-aaf5-009f4e6df866"
HOUR_S = 3600


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("ada")
    sim.add_account("bob")
    return serve()


def owner_and_other(sim: Simulator) -> tuple[SimAccount, SimAccount]:
    owner = sim.accounts[sim.responses()[-1].account_id or ""]
    other = next(account for account in sim.accounts.values() if account is not owner)
    return owner, other


def limit(account: SimAccount) -> int:
    resets_at = int(time.time()) + HOUR_S
    account.default = Fail.usage_limit(resets_at=resets_at)
    return resets_at


def tool_output(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    calls = [item for item in items if item["type"] == "function_call"]
    return [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "marker-42"} for call in calls
    ]


def test_a_tool_call_turn_is_finished_by_another_account_without_the_first_ones_reasoning(
    sim: Simulator, server: Server
) -> None:
    for account in sim.accounts.values():
        account.default = ToolCall()
    first = ask(server, turn(message("run it")), SESSION)
    history = [message("run it"), *first.output, *tool_output(first.output)]
    owner, other = owner_and_other(sim)
    assert [
        encrypted_owner(item["encrypted_content"]) for item in first.output if item["type"] == "reasoning"
    ] == [owner.chatgpt_account_id]
    limit(owner)
    other.default = Ok("Done.")

    second = ask(server, turn(*history), SESSION)

    assert (second.status, second.text) == (200, "Done.")
    limited, served = sim.responses()[1:]
    assert (limited.account_id, served.account_id) == (owner.id, other.id)
    assert limited.body["input"] == history
    assert served.body["input"] == [item for item in history if item["type"] != "reasoning"]
    assert sim.violations == []

    history += [*second.output, message("and then?")]
    third = ask(server, turn(*history), SESSION)

    assert third.status == 200
    (call,) = sim.responses()[3:]
    assert call.account_id == other.id
    kept = [item for item in call.body["input"] if item["type"] == "reasoning"]
    assert [encrypted_owner(item["encrypted_content"]) for item in kept] == [other.chatgpt_account_id]


def test_a_compacted_conversation_stays_with_its_owner(sim: Simulator, server: Server) -> None:
    compacted = ask(server, turn(message("hello"), {"type": "compaction_trigger"}), SESSION)
    (item,) = [item for item in compacted.output if item["type"] == "compaction"]
    history = [item, message("go on")]
    assert ask(server, turn(*history), SESSION).status == 200
    owner, other = owner_and_other(sim)
    resets_at = limit(owner)

    for _ in range(2):
        refused = ask(server, turn(*history), SESSION)
        assert refused.status == 429
        assert (refused.error["type"], refused.error["resets_at"]) == ("usage_limit_reached", resets_at)
        assert owner.email in refused.error["message"] and other.email not in refused.error["message"]
        assert refused.header("retry-after") is None
    assert sim.responses(other.id) == []


@pytest.mark.parametrize("with_code", [True, False], ids=["by its code", "by its message"])
def test_foreign_encrypted_content_is_retried_once_without_it(
    sim: Simulator, server: Server, with_code: bool
) -> None:
    sim.foreign_content_code = with_code
    foreign = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "encrypted_content": encrypted_content("eve", "1"),
    }
    answer = ask(server, turn(message("hello"), foreign, message("go on")), SESSION)
    assert answer.status == 200
    refused, served = sim.responses()
    assert (refused.status, served.status, refused.account_id) == (400, 200, served.account_id)
    assert served.body["input"] == [message("hello"), message("go on")]
    assert server.query("SELECT status FROM accounts_account") == [("active",)] * 2


def test_a_conversation_stays_with_its_account(sim: Simulator, server: Server) -> None:
    for number in range(6):
        assert ask(server, turn(message(str(number))), SESSION).status == 200
    assert len({call.account_id for call in sim.responses()}) == 1


def test_two_workers_on_one_sqlite_know_each_other_s_conversations(sim: Simulator, prepared: Start) -> None:
    for name in ("ada", "bob", "cid"):
        sim.add_account(name)
    server = prepared()
    server.start((*SERVE, "--port", str(server.port), "--workers", "2"))
    sessions = [f"conversation-{number}" for number in range(4)]
    for session in sessions:
        assert ask(server, session=session).status == 200
    stored = "SELECT count(*) FROM proxy_stickysession"
    until(lambda: server.query(stored)[0][0] == len(sessions), 10, "the other worker can look them up")
    # On connections of their own, side by side, so that both workers get some of each.
    answers = at_once(48, lambda number: ask(server, session=sessions[number % 4]))
    assert {answer.status for answer in answers} == {200}
    owners: dict[str, set[str | None]] = {}
    for call in sim.responses():
        owners.setdefault(call.headers["session-id"], set()).add(call.account_id)
    assert {session: len(found) for session, found in owners.items()} == dict.fromkeys(sessions, 1)
    assert server.stop() == 0
