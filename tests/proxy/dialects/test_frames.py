from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.frames import http_body, read_frame, read_responses_frame, warm_up_events
from proxy.errors import BadRequest
from proxy.sse import event_data, split_events


def frame(**fields: Any) -> bytes:
    base = {"type": "response.create", "model": "gpt-5.5", "input": [], "store": False, "stream": True}
    return json.dumps({**base, **fields}).encode()


def test_it_works() -> None:
    text = frame(previous_response_id="resp_1")
    read = read_frame(text)
    assert read.upstream.body is text, "untouched"
    assert read.upstream.previous_response_id == "resp_1"
    assert not read.is_warm_up


def test_a_warm_up_is_known_by_its_generate() -> None:
    assert read_frame(frame(generate=False)).is_warm_up
    assert not read_frame(frame(generate=True)).is_warm_up


def test_what_upstream_refuses_is_left_out_and_the_rest_kept() -> None:
    read = read_frame(frame(temperature=1, store=True, client_metadata={"a": "b"}))
    sent = json.loads(read.upstream.body)
    assert sent["store"] is False and "temperature" not in sent
    assert (sent["type"], sent["client_metadata"]) == ("response.create", {"a": "b"})


@pytest.mark.parametrize("kind", ["response.cancel", None, 7, {"a": 1}])
@pytest.mark.parametrize("read", [read_frame, read_responses_frame])
def test_another_type_is_named(read: Any, kind: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(frame(type=kind))
    assert caught.value.code == "unknown_frame_type"
    assert json.dumps(kind) in caught.value.message


@pytest.mark.parametrize("read", [read_frame, read_responses_frame])
def test_the_previous_response_is_named_by_a_text(read: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(frame(previous_response_id=7))
    assert caught.value.param == "previous_response_id"


def test_an_openai_clients_frame_gets_upstreams_shape() -> None:
    text = json.dumps({"type": "response.create", "model": "gpt-5.5", "input": "hi", "user": "me"})
    read = read_responses_frame(text.encode())
    sent = json.loads(read.upstream.body)
    assert (sent["type"], sent["store"], sent["stream"]) == ("response.create", False, True)
    assert sent["input"][0]["content"] == [{"type": "input_text", "text": "hi"}]
    assert "user" not in sent and sent["prompt_cache_key"]


def test_no_key_is_derived_from_what_comes_later_in_a_conversation() -> None:
    text = {"type": "response.create", "model": "gpt-5.5", "input": "on", "previous_response_id": "resp_1"}
    read = read_responses_frame(json.dumps(text).encode())
    assert "prompt_cache_key" not in json.loads(read.upstream.body)
    assert read.upstream.prompt_cache_key is None
    assert read.upstream.previous_response_id == "resp_1"


def test_over_http_a_frame_loses_what_only_frames_have() -> None:
    sent = json.loads(http_body(frame(generate=True, previous_response_id=None, include=["x"])))
    assert sent == {"model": "gpt-5.5", "input": [], "store": False, "stream": True, "include": ["x"]}


def test_a_warm_up_without_a_socket_is_answered_with_nothing() -> None:
    events = [
        json.loads(event_data(event)) for event in split_events(warm_up_events(frame(generate=False)) or b"")
    ]
    assert [event["type"] for event in events] == ["response.created", "response.completed"]
    assert events[1]["response"]["output"] == []
    assert events[0]["response"]["id"] == events[1]["response"]["id"]
    assert warm_up_events(frame()) is None
