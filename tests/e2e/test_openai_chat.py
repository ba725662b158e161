"""The real openai SDK against /v1/chat/completions."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from proxy.simulator import Fail, FailEvent, Incomplete, Ok, Simulator, ToolCall, Usage

WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


class Event(BaseModel):
    name: str
    n: int


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    messages = fields.pop("messages", [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}])
    return client.chat.completions.create(model="gpt-5.5", messages=messages, **fields)


def test_a_completion_has_text_and_usage(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].default = Ok(usage=Usage(100, 40, 9, 3))
    answer = ask(client, max_completion_tokens=30, temperature=0)
    assert answer.choices[0].message.content == "Hello from the simulator."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 100
    assert answer.usage.prompt_tokens_details.cached_tokens == 40
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    assert sim.violations == []


def test_a_stream_has_its_text_and_usage(sim: Simulator, client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "Hello from the simulator."
    assert chunks[-1].usage.total_tokens == 109
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert sim.violations == []


def test_tool_calls_come_in_a_stream(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].default = ToolCall(command="ls", count=2)
    with client.chat.completions.stream(
        model="gpt-5.5", messages=[{"role": "user", "content": "run"}], tools=[WEATHER | {"strict": True}]
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert [json.loads(call.function.arguments) for call in calls] == [{"cmd": "ls"}] * 2
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_tool_s_result_reaches_the_model(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].default = ToolCall(command="ls")
    messages: list[Any] = [{"role": "user", "content": "run"}]
    first = ask(client, messages=messages, tools=[WEATHER])
    call = first.choices[0].message.tool_calls[0]
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "a file"}]
    second = ask(client, messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == "Hello from the simulator."
    sent = sim.responses()[-1].body["input"]
    assert [item["type"] for item in sent] == ["message", "function_call", "function_call_output"]
    assert sent[1]["call_id"] == sent[2]["call_id"] == call.id


def test_an_answer_is_parsed_by_its_schema(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].default = Ok(text=json.dumps({"name": "x", "n": 3}))
    parsed = client.chat.completions.parse(
        model="gpt-5.5", messages=[{"role": "user", "content": "hi"}], response_format=Event
    )
    assert parsed.choices[0].message.parsed == Event(name="x", n=3)
    assert sim.responses()[-1].body["text"]["format"]["strict"] is True


def test_an_answer_that_was_cut_off_says_so(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].script(Incomplete())
    assert ask(client).choices[0].finish_reason == "length"


def test_fields_that_cannot_be_kept_are_named(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-5.5", messages=[{"role": "user", "content": "hi"}], stop=["x"], seed=1, max_tokens=5
    )
    assert raw.headers["x-codexproxy-dropped"] == "max_tokens, seed, stop"


def test_each_refusal_is_the_right_exception(sim: Simulator, client: openai.OpenAI) -> None:
    account = sim.accounts["first"]
    cases = [
        (Fail.detail(400, "Bad thing"), openai.BadRequestError, "Bad thing"),
        (Fail.model_not_found("gpt-9"), openai.NotFoundError, "gpt-9"),
        (FailEvent.context_length(), openai.BadRequestError, "context"),
        (Fail.server_error(500), openai.InternalServerError, "500"),
        (Fail.usage_limit(resets_at=int(time.time()) + 1), openai.RateLimitError, "limit"),
    ]
    for reply, expected, text in cases:
        account.script(reply)
        with pytest.raises(expected, match=text):
            ask(client)
    assert sim.violations == []


def test_a_failure_in_a_stream_is_an_exception(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].script(FailEvent.server_error(after=2))
    with pytest.raises(openai.APIError, match="The server had an error"):
        list(ask(client, stream=True))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"extra_body": {"input": "hi"}}, "input"),
    ],
)
def test_a_mistake_is_a_bad_request_with_its_param(
    fields: dict[str, Any],
    param: str,
    client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == param
