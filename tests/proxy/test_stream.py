from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sse import EventTooLarge
from proxy.stream import EventStream

CREATED = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1","model":"m"}}\n\n'
)
LIMITS = (
    b"event: codex.rate_limits\n"
    b'data: {"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":99}}}\n\n'
)
DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","delta":"hi \\"error\\""}\n\n'
)
COMPLETED = (
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1","usage":'
    b'{"input_tokens":5,"input_tokens_details":{"cached_tokens":3},"output_tokens":2}}}\n\n'
)
FAILED = (
    b'data: {"type":"response.failed","response":{"error":{"code":"usage_limit_reached","message":"no"}}}\n\n'
)


def unchanged(event: dict) -> dict:
    return event


def test_vendor_events_and_the_preamble_are_held_until_an_event_with_substance() -> None:
    stream = EventStream(unchanged)
    assert stream.feed(CREATED) == b""
    assert not stream.judged
    assert stream.feed(DELTA) == CREATED + DELTA
    assert stream.judged


def test_a_failure_after_the_preamble_lets_nothing_out() -> None:
    stream = EventStream(unchanged)
    assert stream.feed(CREATED + FAILED) == b""
    assert stream.failure == {"code": "usage_limit_reached", "message": "no"}
    assert stream.failed_events == CREATED + FAILED


def test_usage_and_the_end_are_learned_while_bytes_pass() -> None:
    stream = EventStream(unchanged)
    assert (
        stream.feed(CREATED + DELTA) + stream.feed(DELTA + COMPLETED) == CREATED + DELTA + DELTA + COMPLETED
    )
    assert stream.terminal == "response.completed"
    assert stream.usage is not None
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (5, 2)
    assert stream.response_id == "resp_1"


def test_rate_limits_are_rewritten_and_everything_else_is_not() -> None:
    stream = EventStream(lambda event: {**event, "rate_limits": None})
    passed = stream.feed(CREATED + LIMITS + DELTA)
    assert passed.startswith(CREATED)
    assert passed.endswith(DELTA)
    rewritten = passed[len(CREATED) : -len(DELTA)].split(b"data: ")[1]
    assert json.loads(rewritten) == {"type": "codex.rate_limits", "rate_limits": None}


def test_rate_limits_of_another_family_can_be_left_out() -> None:
    stream = EventStream(lambda event: None)
    assert stream.feed(DELTA + LIMITS + DELTA) == DELTA + DELTA


def test_rate_limits_that_cannot_be_decoded_pass_as_they_came() -> None:
    torn = b'data: {"type":"codex.rate_limits","x":"\xff"}\n\n'
    stream = EventStream(lambda event: None)
    assert stream.feed(DELTA + torn) == DELTA + torn


def test_text_that_looks_like_an_event_changes_nothing() -> None:
    stream = EventStream(unchanged)
    tricky = b'data: {"type":"response.output_text.delta","delta":"response.completed codex.rate_limits"}\n\n'
    assert stream.feed(tricky) + stream.feed(tricky) == tricky * 2
    assert stream.terminal == ""


def test_a_late_failure_is_learned_and_passed_on() -> None:
    stream = EventStream(unchanged)
    stream.feed(DELTA)
    assert stream.feed(FAILED) == FAILED
    assert stream.terminal == "response.failed"
    assert stream.error["code"] == "usage_limit_reached"


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("rest", [DELTA + COMPLETED, FAILED, LIMITS, DONE, b""])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_done_before_the_terminal_event_is_the_end_and_nothing_behind_it_counts(
    rest: bytes, line_end: bytes
) -> None:
    def told(events: bytes) -> bytes:
        return events.replace(b"\n", line_end)

    stream = EventStream(unchanged)
    assert stream.feed(told(DELTA + DELTA + DONE + rest)) == told(DELTA + DELTA)
    assert stream.feed(told(COMPLETED)) == b""
    assert (stream.is_cut_short, stream.is_over, stream.terminal, stream.error) == (True, True, "", {})


def test_a_done_before_any_answer_judges_nothing() -> None:
    stream = EventStream(unchanged)
    assert stream.feed(CREATED + DONE + DELTA) == b""
    assert (stream.is_cut_short, stream.judged) == (True, False)


def test_a_done_in_a_text_or_behind_the_terminal_event_is_no_end() -> None:
    stream = EventStream(unchanged)
    words = b'data: {"type":"response.output_text.delta","delta":"[DONE]"}\n\n'
    assert stream.feed(words) + stream.feed(words + COMPLETED + DONE) == words * 2 + COMPLETED + DONE
    assert (stream.is_cut_short, stream.terminal) == (False, "response.completed")


@given(st.lists(st.integers(0, 1000), max_size=10))
def test_any_split_of_the_bytes_passes_the_same_bytes(cuts: list[int]) -> None:
    whole = CREATED + DELTA + DELTA + COMPLETED + b"data: [DONE]\n\n"
    stream = EventStream(unchanged)
    points = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    passed = b"".join(stream.feed(whole[a:b]) for a, b in zip(points, points[1:], strict=False))
    assert passed == whole
    assert stream.terminal == "response.completed"


def test_a_failure_keeps_the_status_that_it_came_with() -> None:
    stream = EventStream(unchanged)
    stream.feed(b'data: {"type":"error","status":429,"error":{"code":"usage_limit_reached"}}\n\n')
    assert (stream.failure, stream.error_status) == ({"code": "usage_limit_reached"}, 429)


def test_an_event_may_be_as_large_as_was_said() -> None:
    large = b"data: " + b"x" * 100
    EventStream(lambda event: event, 200).feed(large)
    with pytest.raises(EventTooLarge):
        EventStream(lambda event: event, 50).feed(large)
