from __future__ import annotations

import time

import httpx
import pytest
import zstandard

from proxy.simulator import (
    Cut,
    Disconnect,
    EndOfStream,
    Fail,
    FailEvent,
    Incomplete,
    Ok,
    Reply,
    Silence,
    SimAccount,
    Simulator,
    ToolCall,
    encrypted_content,
    encrypted_owner,
)

from .requests_made import RESPONSES, ask, credentials, events, turn_body, types


def test_it_works(client: httpx.Client, sim: Simulator, account: SimAccount) -> None:
    answer = ask(client, account)

    received = sim.journal[-1]
    assert answer.status_code == 200
    assert types(answer.text)[:3] == ["codex.rate_limits", "response.created", "response.in_progress"]
    completed = events(answer.text)[-1]["response"]
    assert completed["id"] == received.response_id
    assert completed["output"][-1]["content"][0]["text"] == "Hello from the simulator."
    assert completed["usage"]["total_tokens"] == 109
    assert (received.account_id, received.finished, received.deltas_sent) == ("acct-A", True, 4)
    assert answer.headers["x-codex-primary-used-percent"] == "12"
    assert sim.violations == []


def test_sequence_numbers_count_up_without_a_gap(client: httpx.Client, account: SimAccount) -> None:
    numbers = [event["sequence_number"] for event in events(ask(client, account).text)[1:]]
    assert numbers == list(range(len(numbers)))


def test_scripted_replies_are_used_up_and_then_the_default_answers(
    client: httpx.Client, account: SimAccount
) -> None:
    account.default = Fail.unauthorized()
    account.script(Fail.usage_limit(resets_at=1_795_395_478), Ok())

    answers = [ask(client, account) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 200, 401]
    assert answers[0].json()["error"]["resets_at"] == 1_795_395_478


def test_a_tool_is_called_until_its_output_comes(client: httpx.Client, account: SimAccount) -> None:
    account.default = ToolCall("echo marker-42", count=2)
    calls = events(ask(client, account).text)[-1]["response"]["output"][1:]
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "marker-42"} for call in calls
    ]

    second = ask(client, account, *calls, *outputs)

    assert [call["arguments"] for call in calls] == ['{"cmd": "echo marker-42"}'] * 2
    assert "response.output_text.delta" in types(second.text)


def test_a_compaction_trigger_is_answered_with_a_compaction(
    client: httpx.Client, account: SimAccount
) -> None:
    answer = ask(client, account, {"type": "compaction_trigger"})
    (item,) = events(answer.text)[-1]["response"]["output"]
    assert item["type"] == "compaction"
    assert encrypted_owner(item["encrypted_content"]) == "acct-A"


@pytest.mark.parametrize(
    ("reply", "last"),
    [
        (FailEvent.usage_limit(), "response.failed"),
        (FailEvent.server_error(after=2), "response.failed"),
        (FailEvent.rate_limited(kind="error"), "error"),
        (Incomplete(), "response.incomplete"),
        (EndOfStream(after=1), "response.output_text.delta"),
    ],
)
def test_a_stream_can_end_otherwise(
    client: httpx.Client, account: SimAccount, reply: Reply, last: str
) -> None:
    account.script(reply)
    assert types(ask(client, account).text)[-1] == last


@pytest.mark.parametrize("reply", [Cut(after=2), Cut(after=2, reset=True), Disconnect()])
def test_a_connection_can_break(client: httpx.Client, account: SimAccount, reply: Reply) -> None:
    account.script(reply)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        ask(client, account)


@pytest.mark.parametrize("reply", [Silence(), Silence(after=2)])
def test_silence_lasts_until_the_client_leaves(
    client: httpx.Client, sim: Simulator, account: SimAccount, reply: Reply
) -> None:
    account.script(reply)
    with pytest.raises(httpx.ReadTimeout):
        client.post(RESPONSES, json=turn_body(), headers=credentials(account), timeout=0.2)

    wait_until = time.monotonic() + 2
    while not sim.journal[-1].closed_by_client and time.monotonic() < wait_until:
        time.sleep(0.01)
    assert sim.journal[-1].closed_by_client
    assert not sim.journal[-1].finished


def test_torn_and_bundled_writes_give_the_same_text(client: httpx.Client, account: SimAccount) -> None:
    account.script(Ok(deltas=9), Ok(deltas=9, burst=4), Ok(deltas=9, torn=7))
    texts = []
    for _ in range(3):
        texts.append([event["delta"] for event in events(ask(client, account).text) if "delta" in event])
    assert len(texts[0]) == 9
    assert texts[0] == texts[1] == texts[2]


def test_a_huge_delta_arrives_whole(client: httpx.Client, account: SimAccount) -> None:
    account.script(Ok(deltas=1, delta_bytes=300_000))
    deltas = [event["delta"] for event in events(ask(client, account).text) if "delta" in event]
    assert [len(delta) for delta in deltas] == [300_000]


def test_a_compressed_body_is_read(client: httpx.Client, sim: Simulator, account: SimAccount) -> None:
    plain = httpx.Request("POST", "http://x", json=turn_body()).content
    headers = credentials(account) | {"content-encoding": "zstd"}
    answer = client.post(RESPONSES, content=zstandard.compress(plain), headers=headers)
    assert answer.status_code == 200
    assert sim.journal[-1].body["model"] == "gpt-5.5"


@pytest.mark.parametrize("with_code", [True, False])
def test_another_accounts_encrypted_content_is_refused(
    client: httpx.Client, sim: Simulator, account: SimAccount, with_code: bool
) -> None:
    sim.foreign_content_code = with_code
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": encrypted_content("acct-B", "1")}

    answer = ask(client, account, foreign)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == ("invalid_encrypted_content" if with_code else None)
    assert sim.journal[-1].refused == "invalid_encrypted_content"
    assert sim.violations == []


def test_people_of_one_workspace_read_each_others_content(client: httpx.Client, sim: Simulator) -> None:
    alice = sim.add_account("alice", plan="team", workspace="ws-1")
    bob = sim.add_account("bob", plan="team", workspace="ws-1")
    reasoning = events(ask(client, alice).text)[-1]["response"]["output"][0]
    assert ask(client, bob, reasoning).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"max_output_tokens": 5},
        {"temperature": 1},
        {"user": "u"},
        {"store": True},
        {"stream": False},
        {"input": "hi"},
        {"previous_response_id": "resp_1"},
    ],
)
def test_what_the_backend_refuses_is_refused_and_noted(
    client: httpx.Client, sim: Simulator, account: SimAccount, fields: dict[str, object]
) -> None:
    answer = ask(client, account, **fields)
    assert answer.status_code == 400
    assert "detail" in answer.json()
    assert len(sim.violations) == 1


def test_a_token_with_another_account_id_is_a_violation(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    headers = credentials(account) | {"chatgpt-account-id": "acct-B"}
    assert client.post(RESPONSES, json=turn_body(), headers=headers).status_code == 401
    assert len(sim.violations) == 1


def test_an_expired_token_is_refused_without_blame(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    account.auth_json(expires_at=sim.clock() - 1)
    assert ask(client, account).status_code == 401
    assert sim.violations == []


@pytest.mark.parametrize(
    "header",
    [
        {"x-forwarded-for": "10.0.0.1"},
        {"cf-connecting-ip": "10.0.0.1"},
        {"cookie": "a=b"},
        {"x-api-key": "k"},
        {"authorization": "Bearer sk-client"},
        {"x-codex-turn-state": "turn.616363742d42.1"},
    ],
)
def test_what_must_not_be_passed_on_is_noted(
    client: httpx.Client, sim: Simulator, account: SimAccount, header: dict[str, str]
) -> None:
    client.post(RESPONSES, json=turn_body(), headers=credentials(account) | header)
    assert len(sim.violations) == 1


def test_the_compact_endpoint_answers_json_or_is_missing(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    body = {"model": "gpt-5.1-codex", "input": [], "instructions": ""}
    answer = client.post(f"{RESPONSES}/compact", json=body, headers=credentials(account))
    sim.compact_status = 404
    missing = client.post(f"{RESPONSES}/compact", json=body, headers=credentials(account))
    assert answer.json()["output"][0]["type"] == "compaction"
    assert missing.status_code == 404
