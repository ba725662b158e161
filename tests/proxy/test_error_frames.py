from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.error_frames import error_frame, errors_as_failures, errors_as_refusals
from proxy.sse import each_data
from tests.proxy.fakes import CREATED, DELTA, event

REFUSED = {"type": "invalid_request_error", "code": "invalid_prompt", "message": "no"}
# What Codex ignores, with what can be told of it.
UNREADABLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"code": "invalid_prompt", "message": "no"}, {"code": "invalid_prompt", "message": "no"}),
    ({"error": REFUSED}, REFUSED),
    ({"error": REFUSED, "status": 400, "status_code": 400}, REFUSED),
    ({"error": REFUSED, "status": None, "status_code": 400}, REFUSED),
    ({"error": REFUSED, "status": "400"}, REFUSED),
    ({"error": REFUSED, "status": 400.0}, REFUSED),
    ({"error": REFUSED, "status": True}, REFUSED),
    ({"error": REFUSED, "status": 200}, REFUSED),
    ({"error": REFUSED, "status": 70_000}, REFUSED),
    ({"error": REFUSED, "status": 400, "headers": []}, REFUSED),
    ({"error": "invalid_prompt", "status": 400}, {"code": "invalid_prompt", "message": "invalid_prompt"}),
    ({"error": {**REFUSED, "code": 5}, "status": 400}, {"message": "no"}),
    ({"error": {"code": 5}, "status": 400}, {"code": "upstream_error", "message": "Upstream error"}),
    ({"status": 400}, {"code": "upstream_error", "message": "Upstream error"}),
    ({"response": "none"}, {"code": "upstream_error", "message": "Upstream error"}),
]
READABLE: list[dict[str, Any]] = [
    {"error": REFUSED, "status": 400},
    {"error": REFUSED, "status_code": 500, "headers": {"x": "y"}},
    {"error": {"code": None, "message": "no"}, "status": 503, "headers": None},
]


def decoded(events: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in each_data(events) if data]


def readable(frame: dict[str, Any]) -> bool:
    """As Codex reads it."""
    named = frame.keys() & {"status", "status_code"}
    error, headers = frame.get("error"), frame.get("headers")
    return (
        frame["type"] == "error"
        and len(named) == 1
        and type(frame[named.pop()]) is int
        and isinstance(error, dict)
        and all(isinstance(error.get(name), str | None) for name in ("type", "code", "message"))
        and isinstance(headers, dict | None)
    )


def test_a_frame_keeps_what_codex_can_read_of_an_error() -> None:
    frame = json.loads(error_frame(429, {**REFUSED, "code": 5, "resets_at": 17}, {"x": "y"}))
    assert readable(frame)
    assert (frame["status"], frame["headers"]) == (429, {"x": "y"})
    assert frame["error"] == {"type": "invalid_request_error", "message": "no", "resets_at": 17}


@pytest.mark.parametrize(("fields", "told"), UNREADABLE)
def test_of_a_refused_turn_an_error_that_nobody_could_read_gets_a_status(
    fields: dict[str, Any], told: dict[str, Any]
) -> None:
    first, frame = decoded(errors_as_refusals(CREATED + event("error", **fields), 400))
    assert first["type"] == "response.created"
    assert readable(frame) and frame["status"] == 400
    assert told.items() <= frame["error"].items()


@pytest.mark.parametrize(("fields", "told"), UNREADABLE)
def test_in_an_answer_such_an_error_fails_the_response(fields: dict[str, Any], told: dict[str, Any]) -> None:
    first, failed = decoded(errors_as_failures(DELTA + event("error", **fields)))
    assert (first["type"], failed["type"]) == ("response.output_text.delta", "response.failed")
    assert told.items() <= failed["response"]["error"].items()


@pytest.mark.parametrize("fields", READABLE)
def test_an_error_that_codex_can_read_goes_out_as_it_came(fields: dict[str, Any]) -> None:
    events = DELTA + event("error", **fields)
    assert errors_as_refusals(events, 400) == events
    assert errors_as_failures(events) == events


@pytest.mark.parametrize("status", [{"status": 429}, {"status_code": 401}])
def test_in_an_answer_what_would_be_final_fails_this_response_only(status: dict[str, int]) -> None:
    (failed,) = decoded(errors_as_failures(event("error", error=REFUSED, **status)))
    assert failed["type"] == "response.failed"


def test_the_word_alone_changes_nothing() -> None:
    events = event("response.output_text.delta", delta='"error"', error=5)
    events += event("response.failed", error={})
    assert errors_as_failures(events) == errors_as_refusals(events, 400) == events
