from __future__ import annotations

from typing import Any

from proxy.assembly import ResponseAssembly
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
