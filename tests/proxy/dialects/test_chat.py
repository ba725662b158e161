from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat import MAPPED, ChatRequest, read_chat_request
from proxy.errors import BadRequest
from proxy.simulator.contract import body_refusal

HI = [{"role": "user", "content": "hi"}]


def read(**fields: Any) -> ChatRequest:
    return read_chat_request(json.dumps({"model": "gpt-5.5", "messages": HI, **fields}).encode())


def sent(**fields: Any) -> dict[str, Any]:
    return json.loads(read(**fields).responses.upstream.body)  # type: ignore[no-any-return]


def test_upstream_takes_what_is_sent() -> None:
    body = sent(
        temperature=1, top_p=1, metadata={}, user="u", store=True, max_tokens=5, stop=["x"], logit_bias={}
    )
    assert body_refusal(body) is None
    assert set(body) == {"model", "instructions", "input", "prompt_cache_key", "store", "stream", "include"}


def test_fields_become_upstream_s() -> None:
    body = sent(
        reasoning_effort="high",
        verbosity="low",
        response_format={"type": "text"},
        parallel_tool_calls=False,
        service_tier="fast",
        prompt_cache_key="k",
    )
    assert body["reasoning"] == {"effort": "high"}
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert body["parallel_tool_calls"] is False
    assert (body["service_tier"], body["prompt_cache_key"]) == ("priority", "k")


def test_the_system_s_words_stay_in_the_input_where_json_is_asked_for() -> None:
    messages = [{"role": "system", "content": "Answer in JSON."}, *HI]
    body = sent(messages=messages, response_format={"type": "json_object"})
    assert body["instructions"] == ""
    assert body["input"][0] == {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Answer in JSON."}],
    }


def test_search_options_are_a_tool() -> None:
    assert sent(web_search_options={})["tools"] == [{"type": "web_search"}]


def test_what_cannot_be_kept_is_named() -> None:
    request = read(stop="x", seed=1, logprobs=True, max_completion_tokens=9, user="u", brand_new=1)
    assert request.dropped == ("brand_new", "logprobs", "max_completion_tokens", "seed", "stop")


def test_a_name_that_would_break_a_header_is_not_repeated() -> None:
    assert read(**{"a\r\nSet-Cookie: x": 1}).dropped == ()


def test_null_means_not_given() -> None:
    assert read(**dict.fromkeys(MAPPED - {"model", "messages"})).dropped == ()


def test_the_key_is_the_same_in_each_turn_of_a_conversation() -> None:
    later = [*HI, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "more"}]
    first, second = read(), read(messages=later)
    assert first.responses.upstream.prompt_cache_key == second.responses.upstream.prompt_cache_key
    assert first.responses.has_derived_key


def test_usage_comes_with_a_stream_that_asks_for_it() -> None:
    assert read(stream=True, stream_options={"include_usage": True}).include_usage
    assert not read(stream_options={"include_usage": True}).include_usage


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"input": "hi"}, "input"),
        ({"model": None}, "model"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"n": -1}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"modalities": 5}, "modalities"),
        ({"audio": {}}, "audio"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"reasoning": "high"}, "reasoning"),
        ({"verbosity": 1}, "verbosity"),
        ({"service_tier": 1}, "service_tier"),
        ({"prompt_cache_key": 1}, "prompt_cache_key"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"web_search_options": 1}, "web_search_options"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.param == param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "input_audio", "refusal", "?"]) | JSON},
    optional={"text": JSON, "image_url": JSON, "file": JSON, "file_data": JSON, "input_audio": JSON},
)
CALL = st.fixed_dictionaries({}, optional={"id": JSON, "type": JSON, "function": JSON, "custom": JSON}) | JSON
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]) | JSON},
    optional={
        "content": st.lists(PART, max_size=3) | JSON,
        "tool_calls": st.lists(CALL, max_size=2) | JSON,
        "tool_call_id": JSON,
        "refusal": JSON,
    },
)
TOOL = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "custom", "web_search"]) | JSON},
    optional={"function": JSON, "custom": JSON, "name": JSON},
)
BODY = st.fixed_dictionaries(
    {"model": st.just("gpt-5.5") | JSON, "messages": st.lists(MESSAGE, max_size=4) | JSON},
    optional={
        **dict.fromkeys(sorted(MAPPED - {"model", "messages", "tools"}), JSON),
        "tools": st.lists(TOOL, max_size=3) | JSON,
        "max_tokens": JSON,
        "stop": JSON,
        "modalities": JSON,
    },
)


@given(BODY)
def test_any_body_is_taken_or_refused_with_a_reason(body: dict[str, Any]) -> None:
    try:
        request = read_chat_request(json.dumps(body).encode())
    except BadRequest as error:
        assert error.status == 400
        assert error.message
    else:
        assert body_refusal(json.loads(request.responses.upstream.body)) is None
