from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.images_answer import ImagesAnswer, image_usage
from proxy.sse import EventSplitter
from tests.e2e.asking import events_of
from tests.proxy.fakes import COMPLETED, CREATED, event

CALL = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "result": "aW1n",
    "revised_prompt": "A cat.",
    "size": "1024x1024",
    "quality": "high",
}
USAGE = {
    "input_tokens": 3,
    "output_tokens": 5,
    "total_tokens": 8,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 3},
}
PARTIAL = event(
    "response.image_generation_call.partial_image",
    partial_image_b64="cA==",
    partial_image_index=0,
    size="auto",
)


def done(**changes: Any) -> bytes:
    return event("response.output_item.done", output_index=0, item={**CALL, **changes})


def completed(**fields: Any) -> bytes:
    response = {"id": "resp_1", "output": [], "usage": {"input_tokens": 3, "output_tokens": 5}, **fields}
    return event("response.completed", response=response)


TURN = CREATED + PARTIAL + done() + completed()


def answered(*blocks: bytes) -> tuple[ImagesAnswer, list[dict[str, Any]]]:
    answer = ImagesAnswer("image_generation", 7)
    out = b"".join(answer.feed(block) for block in blocks)
    return answer, events_of(out)


def test_one_object_holds_the_image() -> None:
    answer, _ = answered(TURN)
    assert answer.completion() == {
        "created": 7,
        "data": [{"b64_json": "aW1n", "revised_prompt": "A cat."}],
        "size": "1024x1024",
        "quality": "high",
        "usage": USAGE,
    }


def test_a_stream_has_the_image_on_its_way_and_at_its_end() -> None:
    answer, events = answered(TURN)
    assert events == [
        {
            "type": "image_generation.partial_image",
            "created_at": 7,
            "b64_json": "cA==",
            "partial_image_index": 0,
            "size": "auto",
        },
        {
            "type": "image_generation.completed",
            "created_at": 7,
            "b64_json": "aW1n",
            "size": "1024x1024",
            "quality": "high",
            "usage": USAGE,
        },
    ]
    assert answer.end_with_error({"message": "late"}) == b""


def test_an_image_that_comes_twice_is_one() -> None:
    answer, events = answered(done() + completed(output=[CALL]))
    assert len(events) == 1
    assert len((answer.completion() or {})["data"]) == 1


def test_an_image_that_only_the_end_tells_is_found() -> None:
    assert len(answered(completed(output=[CALL, 5, {"type": "message"}]))[1]) == 1


@given(st.lists(st.integers(0, len(TURN)), max_size=8))
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TURN)]
    splitter = EventSplitter(1_000_000)
    blocks = [splitter.feed(TURN[start:end]) for start, end in zip(edges, edges[1:], strict=False)]
    assert answered(*blocks)[1] == answered(TURN)[1]


@pytest.mark.parametrize(
    ("events", "code", "kind", "message"),
    [
        (COMPLETED, "no_image", "server_error", "Upstream made no image."),
        (done(result=None) + COMPLETED, "no_image", "server_error", "Upstream made no image."),
        (
            event(
                "response.output_item.done", item={"type": "message", "content": [{"text": "I cannot."}, 5]}
            )
            + COMPLETED,
            "no_image",
            "invalid_request_error",
            "I cannot.",
        ),
        (
            done(result=None, status="failed", error={"code": None, "type": "x", "message": "unsafe"})
            + COMPLETED,
            "moderation_blocked",
            "invalid_request_error",
            "unsafe",
        ),
    ],
)
def test_no_image_has_its_reason(events: bytes, code: str, kind: str, message: str) -> None:
    answer, out = answered(events)
    assert (answer.completion(), out) == (None, [])
    trouble = answer.trouble
    assert (trouble["code"], trouble["type"], trouble["message"]) == (code, kind, message)
    assert events_of(answer.end_with_error(trouble)) == [{"type": "error", "error": trouble}]


def test_a_failed_turn_is_no_answer() -> None:
    answer, out = answered(done() + event("response.failed", response={"output": [CALL]}))
    assert (answer.completion(), out) == (None, [])


def test_what_cannot_be_read_is_left_out() -> None:
    odd = b"data: response.completed\n\n" + event("response.output_item.done", item=5) + b"data: [DONE]\n\n"
    assert answered(odd)[1] == []


def test_the_tools_own_usage_is_told_where_upstream_says_it() -> None:
    own = {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"text_tokens": 1}}
    assert image_usage({"tool_usage": {"image_gen": own}, "usage": {"input_tokens": 99}}) == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 1},
    }
    assert image_usage({}) is None
    assert image_usage({"usage": {"input_tokens": "x"}}) == {
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    }
