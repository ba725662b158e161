from __future__ import annotations

import json

import pytest

from proxy.dialects.codex import REFUSED_FIELDS, read_request, reasoning_digests, without_reasoning
from proxy.errors import BadRequest

REASONING_A = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "from-a"}
REASONING_B = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "from-b"}
MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}], "new": 1}


def body(**fields: object) -> bytes:
    return json.dumps(
        {"model": "gpt-5.5", "store": False, "stream": True, "input": [MESSAGE], **fields}
    ).encode()


def test_a_request_that_needs_no_change_is_passed_byte_for_byte() -> None:
    given = body(unknown={"deep": [1, 2.50]})
    assert read_request(given).body is given


@pytest.mark.parametrize("fields", [{"store": True}, {"stream": False}, {"store": None}])
def test_store_and_stream_are_forced(fields: dict) -> None:
    sent = json.loads(read_request(body(**fields)).body)
    assert (sent["store"], sent["stream"]) == (False, True)


@pytest.mark.parametrize("field", sorted(REFUSED_FIELDS))
def test_what_upstream_refuses_is_left_out_and_nothing_else(field: str) -> None:
    sent = json.loads(read_request(body(**{field: "x", "service_tier": "priority"})).body)
    assert sent == json.loads(body(service_tier="priority"))


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_what_would_need_stored_responses_is_refused_by_name(field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(body(**{field: "resp_1"}))
    assert (caught.value.param, caught.value.code) == (field, "previous_response_not_found")


def test_a_null_reference_is_no_reference() -> None:
    assert read_request(body(previous_response_id=None)).model == "gpt-5.5"


@pytest.mark.parametrize("given", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"{}", b'{"model": 5}'])
def test_what_is_not_a_request_is_refused(given: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(given)


def test_what_a_record_needs_is_read() -> None:
    request = read_request(body(reasoning={"effort": "high"}, service_tier="priority", prompt_cache_key="k"))
    assert (request.reasoning_effort, request.service_tier, request.prompt_cache_key) == (
        "high",
        "priority",
        "k",
    )


def test_odd_values_are_upstreams_business() -> None:
    request = read_request(body(reasoning="high", service_tier=5, input="text", prompt_cache_key=[]))
    assert (request.reasoning_effort, request.service_tier, request.has_compaction) == (None, "", False)


def test_reasoning_is_left_out_of_a_copy() -> None:
    given = body(input=[REASONING_A, MESSAGE, REASONING_B])
    assert json.loads(without_reasoning(given))["input"] == [MESSAGE]
    assert json.loads(given)["input"] == [REASONING_A, MESSAGE, REASONING_B]


def test_only_the_foreign_reasoning_can_be_left_out() -> None:
    foreign = reasoning_digests(body(input=[REASONING_A]))
    sent = without_reasoning(body(input=[REASONING_A, REASONING_B]), foreign)
    assert json.loads(sent)["input"] == [REASONING_B]


def test_without_encrypted_reasoning_the_same_bytes_come_back() -> None:
    given = body(input=[MESSAGE, {"type": "compaction", "encrypted_content": "x"}])
    assert without_reasoning(given) is given


def test_a_compacted_history_is_recognised() -> None:
    assert read_request(body(input=[{"type": "compaction", "encrypted_content": "x"}])).has_compaction
    assert not read_request(body(input=[{"type": "compaction_trigger"}])).has_compaction


def test_a_body_that_is_nested_too_deeply_is_the_client_s_mistake() -> None:
    with pytest.raises(BadRequest, match="nested too deeply"):
        read_request(b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_files_are_found_wherever_a_message_names_them() -> None:
    parts = [
        {"type": "input_file", "file_id": "file-A_1"},
        {"type": "input_image", "image_url": "sediment://file_B"},
        {"type": "input_text", "text": 'a text with "file_id": "file_C"'},
    ]
    request = read_request(body(input=[{"type": "message", "role": "user", "content": parts}]))
    assert request.files == ("file-A_1", "file_B")
    assert read_request(body(input=[MESSAGE])).files == ()


def test_a_request_for_a_compaction_is_recognised() -> None:
    trigger = {"type": "compaction_trigger"}
    assert read_request(body(input=[MESSAGE, trigger])).makes_compaction
    assert not read_request(body(input=[trigger, MESSAGE])).makes_compaction
    assert not read_request(body(input="compaction_trigger")).makes_compaction
