from __future__ import annotations

from proxy.events import decode_event, error_object, event_error, event_limit_id, event_status, event_type


def test_the_type_is_found_wherever_it_stands() -> None:
    assert event_type(b'{"a":{"type":"inner"},"type":"response.created"}') == "response.created"


def test_what_is_not_an_event_object_has_no_type() -> None:
    assert [event_type(data) for data in (b"[DONE]", b"", b"[]", b'{"type":5}', b"{")] == [""] * 5


def test_what_cannot_be_decoded_is_no_event() -> None:
    unreadable = (b'{"type":"\xff"}', b'{"type":' + b"[" * 9000 + b"]" * 9000 + b"}", b'{"code":"\xff"}')
    assert [event_type(data) for data in unreadable[:2]] == ["", ""]
    assert [decode_event(data) for data in unreadable] == [None] * 3


def test_the_error_is_found_in_the_response_the_event_or_beside_the_type() -> None:
    nested = decode_event(b'{"type":"response.failed","response":{"error":{"code":"a"}}}')
    direct = decode_event(b'{"type":"error","error":{"code":"b"}}')
    flat = decode_event(b'{"type":"error","code":"c","message":"m"}')
    none = decode_event(b'{"type":"response.failed","response":{"id":"r"}}')
    assert nested and direct and flat and none
    assert [event_error(event) for event in (nested, direct, flat, none)] == [
        {"code": "a"},
        {"code": "b"},
        {"code": "c", "message": "m"},
        {},
    ]


def test_an_error_is_found_in_whatever_form_it_has() -> None:
    told = [
        {"error": {"code": "a"}, "code": "b"},
        {"error": "invalid_request", "error_description": "No."},
        {"error": "invalid_request"},
        {"detail": "No."},
        {"detail": {"code": "a"}},
        {"code": "a", "message": None},
        {"code": 400},
        {"error": 5, "detail": 5},
        {"detail": [{"loc": ["body", "input"], "msg": "Field required"}, "x"]},
    ]
    assert [error_object(payload) for payload in told] == [
        {"code": "a"},
        {"code": "invalid_request", "message": "No."},
        {"code": "invalid_request", "message": "invalid_request"},
        {"message": "No."},
        {"code": "a"},
        {"code": "a", "message": None},
        {},
        {},
        {"message": "body.input: Field required; x"},
    ]


def test_an_error_whose_code_is_no_text_is_an_event_all_the_same() -> None:
    decoded = decode_event(b'{"type":"error","code":400,"message":"m","status":400}')
    assert decoded and (event_error(decoded)["message"], event_status(decoded)) == ("m", 400)


def test_a_websockets_error_says_its_status_under_either_name() -> None:
    told = [
        b'{"type":"error","status":429}',
        b'{"type":"error","status_code":401}',
        b'{"status":true}',
        b"{}",
    ]
    decoded = [decode_event(data) for data in told]
    assert [event_status(event) for event in decoded if event] == [429, 401, None, None]


def test_a_failure_s_own_headers_name_the_limit_for_one_model() -> None:
    told = [
        b'{"type":"error","headers":{"x-codex-active-limit":"codex_other"}}',
        b'{"type":"error","headers":{"x-codex-active-limit":"codex"}}',
        b'{"type":"error","headers":["x-codex-active-limit"]}',
        b'{"type":"error"}',
    ]
    decoded = [decode_event(data) for data in told]
    assert [event_limit_id(event) for event in decoded if event] == ["codex_other", "", "", ""]
