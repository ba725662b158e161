from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sse import EventSplitter, EventTooLarge, each_data, event_data, framed_event, split_events

STREAM = (
    b'event: response.created\ndata: {"type":"response.created"}\n\n'
    b": a comment\n\n"
    b'data: {"type":"a"}\r\n\r\n'
    b"data: one\ndata: two\n\n"
    b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_bytes_and_whole_events(cuts: list[int]) -> None:
    splitter = EventSplitter(1000)
    points = [0, *sorted(cuts), len(STREAM)]
    handed_out = [splitter.feed(STREAM[start:end]) for start, end in zip(points, points[1:], strict=False)]
    assert b"".join(handed_out) == STREAM
    for part in handed_out:
        assert not part or part.endswith((b"\n\n", b"\r\n\r\n"))


def test_an_incomplete_event_is_held_back() -> None:
    splitter = EventSplitter(1000)
    assert splitter.feed(b"data: a\n\ndata: b") == b"data: a\n\n"
    assert splitter.pending == b"data: b"
    assert splitter.feed(b"\n\n") == b"data: b\n\n"


def test_an_event_over_the_limit_is_refused() -> None:
    splitter = EventSplitter(10)
    with pytest.raises(EventTooLarge):
        splitter.feed(b"data: 0123456789")


def test_a_large_block_of_small_events_is_not_over_the_limit() -> None:
    assert EventSplitter(10).feed(b"data: a\n\n" * 100) == b"data: a\n\n" * 100


def test_events_are_cut_at_empty_lines_of_every_kind() -> None:
    assert [event_data(event) for event in split_events(STREAM)] == [
        b'{"type":"response.created"}',
        b"",
        b'{"type":"a"}',
        b"one\ntwo",
        b"[DONE]",
    ]


LINES = st.sampled_from([b"data: a", b"data:", b"event: x", b": c", b""])


@given(st.lists(LINES), st.sampled_from([b"\n", b"\r\n"]))
def test_the_data_of_all_events_is_that_of_each(lines: list[bytes], line_end: bytes) -> None:
    stream = line_end.join([*lines, b"data: last", b"", b""])
    one_by_one = [event_data(event) for event in split_events(stream)]
    # An event of nothing but line ends has no data, and need not be told apart.
    assert list(filter(None, each_data(stream))) == list(filter(None, one_by_one))


@pytest.mark.parametrize("data", [b'{"type":"a"}', b'{\n"type": "a",\n\n"b": 1}', b"{}"])
def test_a_frame_of_a_websocket_is_an_event_of_the_same_data(data: bytes) -> None:
    framed = framed_event(data)
    assert EventSplitter(1000).feed(framed) == framed
    assert [event_data(event) for event in split_events(framed * 2)] == [data, data]
