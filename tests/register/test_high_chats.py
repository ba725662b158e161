"""The review's high item about the tool calls and the end of a chat."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.simulator import Fail, Ok, Silence
from tests.register.pool import Pool, arguments_in, chunks, completed, created, stream, text

# --- H4: tool calls are put together as they came -------------------------------------------------


def added(index: int, call: str, item: str) -> dict[str, Any]:
    named = {"type": "function_call", "id": item, "call_id": call, "name": "get_weather", "arguments": ""}
    return {"type": "response.output_item.added", "output_index": index, "item": named}


def fragment(index: int, item: str, delta: str) -> dict[str, Any]:
    kind = "response.function_call_arguments.delta"
    return {"type": kind, "item_id": item, "output_index": index, "delta": delta}


def finished(index: int, call: str, item: str, arguments: str) -> list[dict[str, Any]]:
    whole = {"type": "function_call", "id": item, "call_id": call, "name": "get_weather"}
    kind = "response.function_call_arguments.done"
    return [
        {"type": kind, "item_id": item, "output_index": index, "arguments": arguments},
        {
            "type": "response.output_item.done",
            "output_index": index,
            "item": {**whole, "arguments": arguments},
        },
    ]


OSLO, ROME = '{"city":"Oslo"}', '{"city":"Rome"}'
ONE_CALL = [
    created(),
    added(0, "call_1", "fc_1"),
    fragment(0, "fc_1", '{"city":'),
    fragment(0, "fc_1", '"Oslo"}'),
    *finished(0, "call_1", "fc_1", OSLO),
    completed(),
]


def test_h4_arguments_that_upstream_tells_three_times_are_there_once(pool: Pool) -> None:
    choice = pool.account(stream(*ONE_CALL)).chat().json()["choices"][0]
    function = {"name": "get_weather", "arguments": OSLO}
    assert choice["message"]["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]
    assert (choice["finish_reason"], choice["message"].get("content")) == ("tool_calls", None)


def test_h4_the_fragments_of_a_stream_are_the_same_call(pool: Pool) -> None:
    found = chunks(pool.account(stream(*ONE_CALL)).chat(stream=True))
    assert arguments_in(found) == {0: OSLO}
    assert [chunk["choices"][0]["delta"].get("role") for chunk in found].count("assistant") == 1


def test_h4_two_calls_at_once_are_not_mixed(pool: Pool) -> None:
    events = [
        created(),
        added(0, "call_1", "fc_1"),
        added(1, "call_2", "fc_2"),
        fragment(1, "fc_2", '{"city":'),
        fragment(0, "fc_1", '{"city":"Oslo"}'),
        fragment(1, "fc_2", '"Rome"}'),
        *finished(1, "call_2", "fc_2", ROME),
        *finished(0, "call_1", "fc_1", OSLO),
        completed(),
    ]
    assert arguments_in(chunks(pool.account(stream(*events)).chat(stream=True))) == {0: OSLO, 1: ROME}
    calls = pool.account(stream(*events)).chat().json()["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in calls] == ["call_1", "call_2"]


def listed(index: int, call: str, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": call, "function": {"name": "get_weather", "arguments": arguments}}


def test_h4_a_list_of_calls_keeps_every_call(pool: Pool) -> None:
    told = {"type": "response.tool_calls.delta", "tool_calls": [listed(0, "a", OSLO), listed(1, "b", ROME)]}
    answer = pool.account(stream(created(), told, completed())).chat()
    choice = answer.json()["choices"][0]
    found = [(call["id"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
    assert (found, choice["finish_reason"]) == ([("a", OSLO), ("b", ROME)], "tool_calls")


def test_h4_calls_are_in_the_order_of_their_indexes(pool: Pool) -> None:
    kind = "response.tool_calls.delta"
    events = [{"type": kind, "tool_calls": [listed(*call)]} for call in ((1, "b", ROME), (0, "a", OSLO))]
    answer = pool.account(stream(created(), *events, completed())).chat()
    calls = answer.json()["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in calls] == ["a", "b"]


def test_h4_an_index_says_more_than_the_place_in_the_output(pool: Pool) -> None:
    kind = "response.function_call_arguments.delta"
    told = [(0, "a", OSLO[:5]), (1, "b", ROME[:5]), (0, "a", OSLO[5:]), (1, "b", ROME[5:])]
    events = [
        {
            "type": kind,
            "index": index,
            "output_index": 0,
            "call_id": call,
            "name": "get_weather",
            "delta": part,
        }
        for index, call, part in told
    ]
    found = chunks(pool.account(stream(created(), *events, completed())).chat(stream=True))
    assert arguments_in(found) == {0: OSLO, 1: ROME}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("something_new", "length")],
)
def test_h4_an_answer_that_was_cut_off_says_so_even_with_a_call(pool: Pool, reason: str, finish: str) -> None:
    end = completed("incomplete", incomplete_details={"reason": reason})
    events = [created(), added(0, "call_1", "fc_1"), fragment(0, "fc_1", '{"ci'), end]
    choice = pool.account(stream(*events)).chat().json()["choices"][0]
    assert choice["finish_reason"] == finish
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"ci'


def test_h4_nothing_behind_the_end_is_read(pool: Pool) -> None:
    events = [created(), text("hi"), completed(), text(" TRAILING")]
    assert pool.account(stream(*events)).chat().json()["choices"][0]["message"]["content"] == "hi"
    found = chunks(pool.account(stream(*events)).chat(stream=True))
    assert "TRAILING" not in json.dumps(found)


def test_h4_a_done_is_an_end_like_any_other(pool: Pool) -> None:
    member = pool.account(stream(created(), text("hi"), done=True))
    found = chunks(member.chat(stream=True))
    assert [chunk["error"]["code"] for chunk in found if "error" in chunk] == ["stream_incomplete"]
    assert member.record("error_code") == "stream_incomplete"
    end, late = "data: [DONE]\n\n", stream(text(" TRAILING"), completed())
    assert isinstance(late, Fail)
    begun = stream(created(), text("hi"))
    assert isinstance(begun, Fail)
    member = pool.account(Fail(200, f"{begun.body}{end}{late.body}", content_type="text/event-stream"))
    found = chunks(member.chat(stream=True))
    assert "TRAILING" not in json.dumps(found)
    assert [chunk["error"]["code"] for chunk in found if "error" in chunk] == ["stream_incomplete"]
    assert member.record("error_code") == "stream_incomplete"


def test_h4_a_done_is_the_end_though_the_connection_stays_open(pool: Pool) -> None:
    left_open = Silence(after=2, stream=Ok(done_marker=True))
    member = pool.account(left_open, left_open)
    chat, response = member.chat(stream=True), member.respond()
    assert [chunk["error"]["code"] for chunk in chunks(chat) if "error" in chunk] == ["stream_incomplete"]
    assert (response.status, response.error["code"]) == (502, "stream_incomplete")
    assert member.record("error_code") == "stream_incomplete"


def test_h4_what_is_no_call_makes_none(pool: Pool) -> None:
    items = [
        {"type": kind, "id": f"x{place}", "name": "f", "arguments": "{}", "content": []}
        for place, kind in enumerate(("message", "reasoning", "web_search_call"))
    ]
    told = [
        {"type": f"response.output_item.{what}", "output_index": place, "item": item}
        for place, item in enumerate(items)
        for what in ("added", "done")
    ]
    choice = pool.account(stream(created(), *told, text("hi"), completed())).chat().json()["choices"][0]
    assert (choice["message"].get("tool_calls"), choice["finish_reason"]) == (None, "stop")


def test_h4_a_failure_without_words_is_told_once(pool: Pool) -> None:
    failed = {"type": "response.failed", "response": {"id": "resp_1", "status": "failed"}}
    expected = {"message": "Upstream error", "type": "server_error", "code": "upstream_error"}
    answer = pool.account(stream(created(), text("hi"), failed)).chat(stream=True)
    assert [chunk["error"] for chunk in chunks(answer) if "error" in chunk] == [expected]
    member = pool.account()
    member.account.default = stream(created(), failed)
    answer = member.chat()
    assert (answer.status, answer.json()) == (502, {"error": expected})
    # A stream of which nothing has come yet still has a status.
    assert member.chat(stream=True).json() == {"error": expected}
