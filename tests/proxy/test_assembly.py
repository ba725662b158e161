from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.assembly import FilledOutput, ResponseAssembly
from proxy.sse import event_data
from tests.proxy.fakes import event

MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
REASONING = {"type": "reasoning", "summary": []}


def assembled(*events: bytes) -> dict[str, Any] | None:
    assembly = ResponseAssembly()
    for block in events:
        assembly.feed(block)
    return assembly.response()


def test_the_terminal_events_response_is_the_answer() -> None:
    assert assembled(event("response.completed", response={"id": "r", "output": [MESSAGE]})) == {
        "id": "r",
        "output": [MESSAGE],
    }


def test_an_empty_output_is_filled_with_the_items_that_came() -> None:
    response = assembled(
        event("response.output_item.done", output_index=1, item=MESSAGE),
        event("response.output_item.done", output_index=0, item=REASONING),
        event("response.completed", response={"id": "r", "output": []}),
    )
    assert response == {"id": "r", "output": [REASONING, MESSAGE]}


def test_an_incomplete_response_is_an_answer_too() -> None:
    response = assembled(
        event("response.incomplete", response={"id": "r", "status": "incomplete", "output": [1]})
    )
    assert response is not None
    assert response["status"] == "incomplete"


def test_without_a_terminal_event_there_is_no_answer() -> None:
    assert assembled(event("response.output_item.done", output_index=0, item=MESSAGE)) is None


def test_an_item_that_cannot_be_decoded_is_left_out() -> None:
    torn = b'data: {"type":"response.output_item.done","item":"\xff"}\n\n'
    response = assembled(torn, event("response.completed", response={"id": "r", "output": []}))
    assert response == {"id": "r", "output": []}


def test_text_that_mentions_an_event_is_no_event() -> None:
    assert assembled(event("response.output_text.delta", delta="response.completed")) is None


SECOND = event("response.output_item.done", output_index=1, item=MESSAGE)
FIRST = event("response.output_item.done", output_index=0, item=REASONING)


def filled(*blocks: bytes) -> list[bytes]:
    output = FilledOutput()
    return [output.feed(block) for block in blocks]


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
@pytest.mark.parametrize("output", [{"output": []}, {"output": None}, {}])
def test_a_stream_s_last_event_gets_the_items_that_came(kind: str, output: dict[str, Any]) -> None:
    last = event(kind, sequence_number=7, response={"id": "r", **output})
    passed = filled(SECOND, FIRST, last)
    assert passed[:2] == [SECOND, FIRST]
    assert passed[2].startswith(f"event: {kind}\n".encode())
    assert json.loads(event_data(passed[2])) == {
        "type": kind,
        "sequence_number": 7,
        "response": {"id": "r", "output": [REASONING, MESSAGE]},
    }


def test_it_gets_them_when_all_came_at_once_and_in_whichever_framing() -> None:
    last = b'data: {"type":"response.completed",\r\ndata: "response":{"output":[ ]}}\r\n\r\n'
    (passed,) = filled(FIRST + last + b"data: [DONE]\n\n")
    assert passed.startswith(FIRST) and passed.endswith(b"data: [DONE]\n\n")
    assert json.loads(event_data(passed.removeprefix(FIRST).removesuffix(b"data: [DONE]\n\n"))) == {
        "type": "response.completed",
        "response": {"output": [REASONING]},
    }


@pytest.mark.parametrize(
    "last",
    [
        event("response.completed", response={"output": [MESSAGE]}),
        event("response.failed", response={"output": []}),
        event("response.completed"),
        event("response.output_text.delta", delta="response.completed"),
        b'data: {"type":"response.completed","response":"\xff"}\n\n',
    ],
)
def test_whatever_needs_no_output_stays_the_same_bytes(last: bytes) -> None:
    assert filled(FIRST, last) == [FIRST, last]


def test_without_items_an_empty_output_stays_empty() -> None:
    last = event("response.completed", response={"output": []})
    assert filled(last) == [last]
