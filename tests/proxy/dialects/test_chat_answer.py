from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat_answer import DONE, ChatAnswer, chat_usage
from proxy.sse import EventSplitter
from tests.proxy.dialects.test_tool_calls import genuine


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def text(delta: str) -> bytes:
    return event("response.output_text.delta", delta=delta)


CREATED = event("response.created", response={"id": "resp_1", "model": "gpt-5.5-real"})
COMPLETED = event("response.completed", response={"usage": {"input_tokens": 3, "output_tokens": 4}})


def answer(**options: Any) -> ChatAnswer:
    return ChatAnswer("chatcmpl-1", 5, "gpt-5.5", **options)


def chunks(stream: bytes) -> list[Any]:
    """Each chunk decoded; "[DONE]" as it is."""
    found = [line.removeprefix(b"data: ") for line in stream.split(b"\n\n") if line]
    return [json.loads(data) if data != b"[DONE]" else "[DONE]" for data in found]


def streamed(*events: bytes, **options: Any) -> list[Any]:
    return chunks(answer(**options).feed(b"".join(events)))


def collected(*events: bytes) -> dict[str, Any]:
    chat = answer()
    chat.feed(b"".join(events))
    whole = chat.completion()
    assert whole is not None
    return whole


def calls(*parts: str) -> bytes:
    return b"".join(event(one.pop("type"), **one) for one in genuine(0, list(parts)))


def test_text_comes_in_chunks_with_the_role_first() -> None:
    found = streamed(CREATED, text("Hel"), text("lo"), COMPLETED)
    assert [chunk["choices"][0]["delta"] for chunk in found[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert found[0]["id"] == "chatcmpl-1"
    assert found[0]["model"] == "gpt-5.5-real"
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1] == "[DONE]"


def test_usage_has_a_chunk_of_its_own_where_it_is_wanted() -> None:
    found = streamed(text("hi"), COMPLETED, include_usage=True)
    assert [chunk["usage"] for chunk in found[:-2]] == [None, None, None]
    assert found[-2]["choices"] == []
    assert found[-2]["usage"]["total_tokens"] == 7


def test_the_completion_has_everything() -> None:
    whole = collected(CREATED, text("Hel"), text("lo"), COMPLETED)
    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert whole["usage"]["prompt_tokens"] == 3


def test_a_call_makes_the_finish_reason() -> None:
    choice = collected(calls('{"city":', '"Oslo"}'), COMPLETED)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"city":"Oslo"}'


def test_calls_that_only_the_terminal_event_tells_are_told() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": "{}"}
    found = streamed(event("response.completed", response={"output": [item]}))
    assert found[1]["choices"][0]["delta"]["tool_calls"][0]["id"] == "c1"
    assert found[1]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_two_calls_stay_apart_though_the_terminal_event_counts_otherwise() -> None:
    first, second = genuine(1, [], "a"), genuine(2, [], "b")
    events = b"".join(event(one.pop("type"), **one) for one in [*first, *second])
    items = [
        {"type": "function_call", "id": f"fc_{place}", "call_id": call_id, "name": "f", "arguments": args}
        for place, call_id, args in ((1, "a", "{}"), (2, "b", "[]"))
    ]
    whole = collected(events, event("response.completed", response={"output": items}))
    told = [call["function"]["arguments"] for call in whole["choices"][0]["message"]["tool_calls"]]
    assert told == ["{}", "[]"]


def test_text_that_only_a_finished_message_tells_is_told_once() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
    done = event("response.output_item.done", output_index=0, item=message)
    whole = collected(done, event("response.completed", response={"output": [message]}))
    assert whole["choices"][0]["message"]["content"] == "Hello"


def message(item_id: str, content: str) -> dict[str, Any]:
    return {"type": "message", "id": item_id, "content": [{"type": "output_text", "text": content}]}


def finished(place: int, item: dict[str, Any]) -> bytes:
    return event("response.output_item.done", output_index=place, item=item)


FIRST, SECOND = message("msg_1", "one."), message("msg_2", " two.")
BOTH = event("response.completed", response={"output": [FIRST, SECOND]})


@pytest.mark.parametrize(
    "names", [{"output_index": 0, "item_id": "msg_1"}, {"output_index": 0}, {"item_id": "msg_1"}]
)
def test_each_message_is_told_once_whether_in_pieces_or_whole(names: dict[str, Any]) -> None:
    first = event("response.output_text.delta", delta="one.", **names)
    whole = collected(first, finished(0, FIRST), finished(1, SECOND), BOTH)
    assert whole["choices"][0]["message"]["content"] == "one. two."


def test_messages_without_ids_that_only_the_terminal_event_tells_are_all_told() -> None:
    output = [{"type": "message", "content": item["content"]} for item in (FIRST, SECOND)]
    whole = collected(event("response.completed", response={"output": output}))
    assert whole["choices"][0]["message"]["content"] == "one. two."


def test_a_message_that_only_the_terminal_event_tells_is_told_behind_another() -> None:
    first = event("response.output_text.delta", delta="one.", item_id="msg_1")
    assert collected(first, BOTH)["choices"][0]["message"]["content"] == "one. two."


@pytest.mark.parametrize("names", [{}, {"output_index": 0}, {"output_index": None, "item_id": []}])
def test_text_whose_message_has_no_name_does_not_come_twice(names: dict[str, Any]) -> None:
    first = event("response.output_text.delta", delta="one.", **names)
    completed = event("response.completed", response={"output": [FIRST]})
    assert collected(first, completed)["choices"][0]["message"]["content"] == "one."


def test_a_refusal_is_told_once_too() -> None:
    refusing = {"type": "message", "id": "msg_1", "content": [{"type": "refusal", "refusal": "No."}]}
    delta = event("response.refusal.delta", delta="No.", output_index=1, item_id="msg_1")
    thought = event("response.reasoning_summary_text.delta", delta="hm", output_index=0, item_id="rs_1")
    whole = collected(thought, delta, finished(1, refusing), COMPLETED)
    assert whole["choices"][0]["message"]["refusal"] == "No."


def test_a_refusal_is_no_content() -> None:
    message = collected(event("response.refusal.delta", delta="no"), COMPLETED)["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "no")


def test_a_summary_of_the_reasoning_is_apart() -> None:
    summary = event("response.reasoning_summary_text.delta", delta="thinking")
    message = collected(summary, text("x"), COMPLETED)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("x", "thinking")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "length")],
)
def test_being_cut_off_beats_a_call(reason: str | None, expected: str) -> None:
    cut = event("response.incomplete", response={"incomplete_details": {"reason": reason}})
    choice = collected(calls("{"), cut)["choices"][0]
    assert choice["finish_reason"] == expected
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{"


def test_nothing_is_read_after_the_end() -> None:
    chat = answer()
    chat.feed(text("hi") + COMPLETED + text(" TRAILING"))
    assert chat.feed(text("more")) == b""
    whole = chat.completion()
    assert whole is not None
    assert whole["choices"][0]["message"]["content"] == "hi"
    assert chat.end_with_error({"message": "late"}) == b""


def test_a_done_without_a_terminal_event_is_an_end_and_no_answer() -> None:
    chat = answer()
    told = chat.feed(text("hi") + DONE + text(" TRAILING") + COMPLETED)
    assert b"TRAILING" not in told
    assert (chat.failed, chat.completion()) == (True, None)
    assert chunks(told + chat.end_with_error({"message": "cut off"}))[-2:] == [
        {"error": {"message": "cut off"}},
        "[DONE]",
    ]


def test_a_failure_ends_with_its_error() -> None:
    chat = answer()
    chat.feed(text("hi") + event("response.failed", response={"error": None}))
    assert chat.failed
    assert chat.completion() is None
    assert chunks(chat.end_with_error({"message": "broken"})) == [{"error": {"message": "broken"}}, "[DONE]"]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'"response.output_text.delta"',
        b"[" * 9000 + b"]" * 9000,
        b'{"type":"response.output_text.delta","delta":"\xff"}',
    ],
)
def test_what_cannot_be_read_is_left_out(data: bytes) -> None:
    assert answer().feed(b"data: " + data + b"\n\n") == b""


def test_a_delta_that_is_no_text_is_left_out() -> None:
    assert answer().feed(event("response.output_text.delta", delta=5)) == b""


def test_a_model_s_name_cannot_break_a_chunk() -> None:
    chat = ChatAnswer("chatcmpl-1", 5, "\x00")
    assert chunks(chat.feed(text("hi")))[1]["choices"][0]["delta"] == {"content": "hi"}


def test_usage_that_is_missing_counts_as_none() -> None:
    assert chat_usage(None) is None
    usage = chat_usage({"input_tokens": "many", "input_tokens_details": 5})
    assert usage is not None
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


DELTAS = st.lists(
    st.one_of(
        st.text(max_size=6).map(text),
        st.text(max_size=6).map(lambda told: event("response.refusal.delta", delta=told)),
        st.lists(st.text(max_size=4), max_size=3).map(lambda parts: calls(*parts)),
        st.just(b": keep-alive\n\n"),
    ),
    max_size=6,
).map(b"".join)
ENDS = st.sampled_from([COMPLETED, event("response.incomplete", response={}), event("error"), b""])


@given(DELTAS, ENDS, st.data())
def test_any_split_of_the_stream_gives_the_same_chunks_and_one_done(
    deltas: bytes, end: bytes, data: st.DataObject
) -> None:
    whole = CREATED + deltas + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    chat, splitter, given_out = answer(), EventSplitter(1 << 20), b""
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        given_out += chat.feed(splitter.feed(whole[start:stop]))
    given_out += chat.end_with_error({"message": "broken"})
    at_once = answer()
    expected = at_once.feed(whole) + at_once.end_with_error({"message": "broken"})
    assert given_out == expected
    assert given_out.count(DONE) == 1
    assert given_out.endswith(DONE)
