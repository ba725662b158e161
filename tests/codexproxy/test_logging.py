"""What a line of the log holds."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from codexproxy import env
from codexproxy.logging import FORMATS, JsonFormatter, RequestIdFilter, request_id


def _line(message: str, *args: object, exc_info: bool = False) -> str:
    info = sys.exc_info() if exc_info else None
    record = logging.LogRecord("some.place", logging.ERROR, __file__, 1, message, args, info)
    RequestIdFilter().filter(record)
    return JsonFormatter().format(record)


def test_a_text_of_several_lines_stays_one_line() -> None:
    line = _line("two\nlines of %s", "ü")
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "ERROR",
        "logger": "some.place",
        "request_id": None,
        "message": "two\nlines of ü",
    }


def test_a_request_s_line_has_its_id() -> None:
    token = request_id.set("rid-1")
    try:
        assert json.loads(_line("x"))["request_id"] == "rid-1"
    finally:
        request_id.reset(token)


def test_a_failure_comes_with_its_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        fields = json.loads(_line("it failed", exc_info=True))
    assert fields["exception"].endswith("ValueError: broken")


def test_a_format_that_is_unknown_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.choice("LOG_FORMAT", FORMATS) == "text"
    monkeypatch.setenv("CODEXPROXY_LOG_FORMAT", "xml")
    with pytest.raises(env.SettingError, match="CODEXPROXY_LOG_FORMAT must be one of text, json, not 'xml'"):
        env.choice("LOG_FORMAT", FORMATS)
