from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.sse import EventTooLarge
from proxy.whole import FoldedCompaction, WholeBody
from tests.proxy.fakes import COMPLETED, CREATED, DELTA, event

ITEM = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
DONE = event("response.output_item.done", output_index=0, item=ITEM)


def completed(**fields: Any) -> bytes:
    response = {
        "id": "resp_1",
        "model": "gpt-5.5",
        "status": "completed",
        "output": [],
        "usage": {},
        **fields,
    }
    return event("response.completed", response=response)


def whole(*blocks: bytes, holds: str = "") -> tuple[WholeBody, bytes]:
    reader = WholeBody(1000, holds=holds)
    assert [reader.feed(block) for block in blocks] == [b""] * len(blocks)
    assert not reader.judged
    return reader, reader.end()


def test_a_body_goes_out_unchanged_when_it_is_complete() -> None:
    given = b'{ "output" : [],\r\n "id": "resp_1", "usage": {"input_tokens": 5} }'
    reader, out = whole(given[:10], given[10:], holds="output")
    assert out == given
    assert reader.judged and reader.terminal and reader.response_id == "resp_1"
    assert reader.usage is not None and reader.usage.input_tokens == 5


@pytest.mark.parametrize("given", [b"", b"{}", b"[]", b"5", b"<html>", b'{"output"', b"\xff", b"[" * 900])
def test_what_does_not_hold_the_answer_is_none(given: bytes) -> None:
    reader, out = whole(given, holds="output")
    assert (out, reader.judged) == (b"", False)


@pytest.mark.parametrize("given", [b"", b"{}", b"[1]", b'{"id": 5}'])
def test_where_nothing_is_asked_for_any_json_and_nothing_at_all_will_do(given: bytes) -> None:
    reader, out = whole(given)
    assert (out, reader.judged) == (given, True)


def test_a_page_is_never_an_answer() -> None:
    assert not whole(b"<html></html>")[0].judged


def test_a_body_has_its_limit() -> None:
    reader = WholeBody(10)
    reader.feed(b"x" * 10)
    with pytest.raises(EventTooLarge):
        reader.feed(b"x")


def folding() -> FoldedCompaction:
    return FoldedCompaction(lambda event: None)


def test_a_turn_is_folded_into_one_answer() -> None:
    reader = folding()
    assert reader.feed(CREATED + DONE) == b""
    assert not reader.judged
    out = json.loads(reader.feed(completed(usage={"input_tokens": 3})))
    assert (out["object"], out["output"], out["usage"]) == (
        "response.compaction",
        [ITEM],
        {"input_tokens": 3},
    )
    assert reader.judged and reader.model == "gpt-5.5"
    assert reader.usage is not None and reader.usage.input_tokens == 3
    assert reader.feed(b"data: [DONE]\n\n") == b""


@pytest.mark.parametrize("before", [b"", DONE], ids=["at once", "after its item"])
def test_a_failure_is_one_however_late(before: bytes) -> None:
    reader = folding()
    failed = event("response.failed", response={"error": {"code": "rate_limit_exceeded"}})
    assert reader.feed(CREATED + before) == b""
    assert reader.feed(failed) == b""
    assert (reader.failure, reader.judged) == ({"code": "rate_limit_exceeded"}, False)


@pytest.mark.parametrize("before", [b"", DONE], ids=["at once", "after its item"])
def test_a_limit_of_one_model_is_not_the_whole_accounts(before: bytes) -> None:
    reader = folding()
    error = {"type": "usage_limit_reached", "message": "no"}
    headers = {"x-codex-active-limit": "codex_other"}
    reader.feed(CREATED + before + event("error", status=429, error=error, headers=headers))
    assert (reader.failure, reader.error_status, reader.error_limit_id) == (error, 429, "codex_other")


def test_an_answer_without_a_compaction_is_a_failure() -> None:
    reader = folding()
    assert reader.feed(CREATED + DELTA + COMPLETED) == b""
    assert reader.failure is not None and reader.failure["code"] == "upstream_error"


def test_a_stream_that_ends_early_is_unjudged() -> None:
    reader = folding()
    reader.feed(CREATED + DONE)
    assert (reader.end(), reader.judged, reader.failure) == (b"", False, None)
