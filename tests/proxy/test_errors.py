from __future__ import annotations

import json

from proxy.errors import BadRequest, MethodNotAllowed, Surfaced, TooLarge, failed_event


def test_an_error_is_told_in_the_openai_envelope() -> None:
    assert json.loads(BadRequest("No.", param="model").body()) == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "code": "invalid_request_error",
            "param": "model",
        }
    }


def test_a_wrong_method_says_which_is_right() -> None:
    assert MethodNotAllowed("GET", "POST").headers == ((b"allow", b"POST"),)


def test_a_limit_is_named_in_the_message() -> None:
    assert "128 MiB" in TooLarge(128 * 1024 * 1024).message


def test_upstreams_own_body_goes_before_the_envelope() -> None:
    assert Surfaced(400, "c", "m", raw=b'{"detail":"x"}').body() == b'{"detail":"x"}'
    assert json.loads(Surfaced(400, "c", "m").body())["error"]["code"] == "c"


def test_the_event_that_ends_a_stream_carries_the_error() -> None:
    event = failed_event({"code": "stream_incomplete", "message": "cut"}, "resp_1", 5)
    data = json.loads(event.split(b"data: ")[1])
    assert event.startswith(b"event: response.failed\n")
    assert event.endswith(b"\n\n")
    assert (data["type"], data["response"]["id"], data["response"]["error"]["code"]) == (
        "response.failed",
        "resp_1",
        "stream_incomplete",
    )
