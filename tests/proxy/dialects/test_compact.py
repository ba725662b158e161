from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from proxy.dialects.compact import as_turn, folded, read_compact_request, read_v1_compact_request
from proxy.errors import BadRequest

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
TRIGGER = {"type": "compaction_trigger"}
COMPACTION = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "gpt-5.5", "input": [MESSAGE], **fields}).encode()


def test_it_works() -> None:
    given = {"model": "gpt-5.5", "input": [MESSAGE], "tools": [], "text": {"verbosity": "low"}}
    request = read_compact_request(json.dumps(given).encode()).upstream
    assert json.loads(request.body) == given
    assert request.makes_compaction


def test_what_only_a_turn_has_is_left_out() -> None:
    request = read_compact_request(body(store=False, stream=True, temperature=1)).upstream
    assert json.loads(request.body) == {"model": "gpt-5.5", "input": [MESSAGE]}


def test_a_trigger_at_the_end_is_understood() -> None:
    request = read_compact_request(body(input=[MESSAGE, TRIGGER])).upstream
    assert json.loads(request.body)["input"] == [MESSAGE]


def test_an_openai_clients_request_gets_upstreams_shape() -> None:
    request = read_v1_compact_request(body(input="hi", service_tier="fast", user="me"))
    assert json.loads(request.upstream.body) == {
        "model": "gpt-5.5",
        "instructions": "",
        "input": [MESSAGE],
        "service_tier": "priority",
    }
    assert request.has_derived_key and request.upstream.prompt_cache_key


def test_a_key_that_an_openai_client_gives_goes_along() -> None:
    request = read_v1_compact_request(body(prompt_cache_key="mine"))
    assert json.loads(request.upstream.body)["prompt_cache_key"] == "mine"
    assert not request.has_derived_key


@pytest.mark.parametrize("read", [read_compact_request, read_v1_compact_request])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": {}}, "input"),
        ({"input": [TRIGGER, MESSAGE]}, "input[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
def test_a_wrong_request_is_refused_by_name(read: Any, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body(**fields))
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("read", [read_compact_request, read_v1_compact_request])
@pytest.mark.parametrize("given", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"input": []}', b"[" * 100_000])
def test_what_is_no_request_is_refused(read: Any, given: bytes) -> None:
    with pytest.raises(BadRequest):
        read(given)


def test_as_a_turn_it_ends_with_the_trigger() -> None:
    turn = json.loads(as_turn(read_compact_request(body(tools=[])).upstream.body))
    assert turn == {
        "model": "gpt-5.5",
        "input": [MESSAGE, TRIGGER],
        "tools": [],
        "store": False,
        "stream": True,
    }


def test_a_turns_response_is_folded_into_the_endpoints_answer() -> None:
    response = {
        "id": "resp_1",
        "created_at": 7,
        "status": "completed",
        "output": [{"type": "reasoning"}, COMPACTION],
        "usage": {"input_tokens": 5},
        "model": "gpt-5.5",
    }
    assert folded(response) == {
        "id": "resp_1",
        "object": "response.compaction",
        "created_at": 7,
        "output": [COMPACTION],
        "usage": {"input_tokens": 5},
    }


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"status": "completed", "output": None},
        {"status": "completed", "output": [{"type": "message"}, 5]},
        {"status": "incomplete", "output": [COMPACTION]},
    ],
)
def test_a_response_without_a_compaction_is_none(response: dict[str, Any]) -> None:
    assert folded(response) is None


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "compaction_trigger", "user"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@over(st.dictionaries(st.sampled_from(["input", "instructions", "tools", "store", "reasoning"]), _values))
def test_any_object_is_either_a_request_or_a_mistake(fields: dict[str, Any]) -> None:
    for read in (read_compact_request, read_v1_compact_request):
        try:
            request = read(json.dumps({"model": "gpt-5.5", **fields}).encode()).upstream
        except BadRequest:
            continue
        assert not {"store", "stream"} & json.loads(request.body).keys()
        assert json.loads(as_turn(request.body))["input"][-1] == TRIGGER
