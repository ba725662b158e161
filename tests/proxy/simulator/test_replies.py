from __future__ import annotations

import pytest

from proxy.simulator import Cut, Fail, Ok, ToolCall, Usage, reply_from


def test_a_reply_is_read_from_json() -> None:
    assert reply_from({"kind": "cut", "after": 3, "stream": {"deltas": 5}}) == Cut(3, stream=Ok(deltas=5))
    assert reply_from({"kind": "ok", "usage": {"input_tokens": 7}}) == Ok(usage=Usage(7))
    assert reply_from({"kind": "tool_call", "then": {"text": "x"}}) == ToolCall(then=Ok("x"))
    assert reply_from({"kind": "fail", "status": 418, "headers": {"a": "b"}}) == Fail(
        418, headers=(("a", "b"),)
    )


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(TypeError):
        reply_from({"kind": "ok", "txt": "x"})
