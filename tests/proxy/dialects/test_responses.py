from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.responses import read_responses_request
from proxy.errors import BadRequest


def sent(**fields: Any) -> dict[str, Any]:
    """What goes upstream."""
    request = read_responses_request(json.dumps({"model": "gpt-5.5", "input": "hi", **fields}).encode())
    return json.loads(request.upstream.body)  # type: ignore[no-any-return]


def refused(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        sent(**fields)
    return caught.value


def test_a_text_becomes_a_message() -> None:
    assert sent()["input"] == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    ]


def test_what_upstream_wants_is_there() -> None:
    body = sent(store=True, stream=False)
    assert (body["store"], body["stream"], body["instructions"], body["include"]) == (False, True, "", [])


@pytest.mark.parametrize(
    "field",
    ["max_output_tokens", "temperature", "top_p", "metadata", "user", "truncation", "safety_identifier"],
)
def test_what_upstream_refuses_is_left_out(field: str) -> None:
    assert field not in sent(**{field: 1})


def test_a_file_of_one_account_is_known_to_belong_to_it() -> None:
    parts = [
        {"type": "input_image", "image_url": "sediment://file_1"},
        {"type": "input_text", "text": "see sediment://file_2"},
    ]
    body = {"model": "gpt-5.5", "input": [{"role": "user", "content": parts}]}
    assert read_responses_request(json.dumps(body).encode()).upstream.files == ("file_1",)


def test_unknown_fields_items_tools_and_includes_pass() -> None:
    item = {"type": "brand_new", "deep": [1]}
    tool = {"type": "brand_new_tool", "x": 1}
    body = sent(input=[item], tools=[tool], include=["brand.new"], brand_new=True)
    assert (body["input"], body["tools"], body["include"], body["brand_new"]) == (
        [item],
        [tool],
        ["brand.new"],
        True,
    )


def test_system_and_developer_text_is_lifted_into_the_instructions() -> None:
    body = sent(
        instructions="first",
        input=[
            {"role": "system", "content": "second"},
            {"role": "developer", "content": [{"type": "input_text", "text": "third"}]},
            {"role": "user", "content": "hi"},
        ],
    )
    assert body["instructions"] == "first\nsecond\nthird"
    assert [item["role"] for item in body["input"]] == ["user"]


def test_what_a_developer_shows_besides_text_stays_in_the_input() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    body = sent(input=[{"role": "developer", "content": [{"type": "input_text", "text": "see"}, image]}])
    assert body["instructions"] == "see"
    assert body["input"] == [{"type": "message", "role": "user", "content": [image]}]


def test_a_request_that_carries_its_prompt_as_items_is_left_alone() -> None:
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "prompt"}]},
        {"type": "additional_tools", "tools": []},
    ]
    assert sent(input=items)["input"] == items


def test_an_assistants_text_is_output() -> None:
    assert sent(input=[{"role": "assistant", "content": "yes"}])["input"][0]["content"] == [
        {"type": "output_text", "text": "yes"}
    ]


def test_tiers_and_tools_have_upstreams_names() -> None:
    body = sent(
        service_tier="fast",
        tools=[{"type": "web_search_preview"}],
        tool_choice={"type": "web_search_preview"},
    )
    assert (body["service_tier"], body["tools"], body["tool_choice"]) == (
        "priority",
        [{"type": "web_search"}],
        {"type": "web_search"},
    )
    assert "service_tier" not in sent(service_tier="auto")


def test_a_conversation_without_a_key_gets_one_that_lasts() -> None:
    first = [{"role": "user", "content": "hello"}]
    later = [*first, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "go on"}]
    key = sent(input=first)["prompt_cache_key"]
    assert sent(input=later)["prompt_cache_key"] == key
    assert sent(input=[{"role": "user", "content": "other"}])["prompt_cache_key"] != key
    assert sent(input=first, model="gpt-5.4-mini")["prompt_cache_key"] != key
    assert sent(prompt_cache_key="own")["prompt_cache_key"] == "own"


PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
GO_ON = [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "go on"}]


def key_of(*content: Any, then: Any = (), owner: str = "", **fields: Any) -> str:
    """The key of a conversation that begins with a user's message of this content."""
    body = {"model": "gpt-5.5", "input": [{"role": "user", "content": list(content)}, *then], **fields}
    return read_responses_request(json.dumps(body).encode(), owner).upstream.prompt_cache_key or ""


def test_two_keys_conversations_have_different_keys_though_they_begin_alike() -> None:
    assert key_of("hello", owner="1") == key_of("hello", then=GO_ON, owner="1")
    assert key_of("hello", owner="1") != key_of("hello", owner="2")


@pytest.mark.parametrize("words", [[], ["what is this?"]])
def test_a_conversation_that_begins_with_a_picture_keeps_its_key_and_shares_it_with_none(
    words: list[str],
) -> None:
    other = PICTURE | {"image_url": "data:image/png;base64,BBBB"}
    assert key_of(*words, PICTURE) == key_of(*words, PICTURE, then=GO_ON)
    assert key_of(*words, PICTURE) != key_of(*words, other)


def test_a_long_beginning_that_is_the_same_does_not_make_the_same_key() -> None:
    preamble = "the same words " * 1000
    assert key_of(preamble + "one document") != key_of(preamble + "another document")
    assert key_of("hi", instructions=preamble + "a") != key_of("hi", instructions=preamble + "b")
    assert key_of(preamble, then=GO_ON, instructions=preamble) == key_of(preamble, instructions=preamble)


FILE_BY_ID = {"type": "input_file", "file_id": "f"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"instructions": 5}, "instructions"),
        ({"stream": "yes"}, "stream"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "input", "effort", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
FIELDS = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "stream",
    "reasoning",
    "service_tier",
    "include",
]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_object_is_either_a_request_or_a_mistake(payload: dict[str, Any]) -> None:
    try:
        request = read_responses_request(json.dumps(payload).encode())
    except BadRequest:
        return
    assert json.loads(request.upstream.body)["stream"] is True


def test_messages_stand_in_for_the_input() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": [{"type": "input_text", "text": "S"}]},
        {"role": "user", "content": [{"type": "file", "file_data": "QUJD", "mime_type": "text/plain"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    body = sent(input=None, messages=messages)
    assert body["instructions"] == "S"
    assert "messages" not in body
    assert [item["type"] for item in body["input"]] == ["message", "function_call", "function_call_output"]
    assert body["input"][0]["content"] == [
        {"type": "input_file", "file_url": "data:text/plain;base64,QUJD"},
    ]


def test_audio_in_messages_is_a_file() -> None:
    part = {"type": "input_audio", "input_audio": {"format": "wav", "data": "QQ"}}
    body = sent(input=None, messages=[{"role": "user", "content": [part]}])
    assert body["input"][0]["content"] == [{"type": "input_file", "file_url": "data:audio/wav;base64,QQ"}]


def test_input_and_messages_together_are_refused() -> None:
    assert refused(messages=[{"role": "user", "content": "hi"}]).param == "messages"


def test_messages_in_the_input_may_use_the_words_of_chat() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = sent(
        input=[
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "hi"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
            {"role": "assistant", "content": "on it", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
            {"role": "assistant", "content": None},
        ]
    )
    assert body["input"] == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_image", "image_url": "https://x/y.png"}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "on it"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "done"},
    ]


def test_reasoning_that_nobody_can_read_is_left_out() -> None:
    readable = {"type": "reasoning", "summary": [], "encrypted_content": "abc"}
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert sent(input=[bare, readable])["input"] == [readable]


def test_what_a_message_carries_besides_is_kept() -> None:
    item = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "phase": "final",
        "content": [{"type": "output_text", "text": "x", "annotations": []}],
    }
    assert sent(input=[item])["input"] == [item]


def test_the_word_json_stays_in_the_input_where_it_is_asked_for() -> None:
    body = sent(
        input=[{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": "hi"}],
        text={"format": {"type": "json_object"}},
    )
    assert body["instructions"] == ""
    assert [item["role"] for item in body["input"]] == ["developer", "user"]


def test_an_effort_behind_the_model_s_name_is_the_effort() -> None:
    payload = {"model": "gpt-5.5-high", "input": "hi", "reasoning": {"effort": "low", "summary": "auto"}}
    request = read_responses_request(json.dumps(payload).encode(), models={"gpt-5.5"})
    body = json.loads(request.upstream.body)
    assert (body["model"], request.upstream.model) == ("gpt-5.5", "gpt-5.5")
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"temperature": -1}, "temperature"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].tool_call_id"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"tools": "x"}, "tools"),
    ],
)
def test_a_mistake_in_a_message_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param
