"""Pure: errors as frames of a websocket, in the one form that Codex can read.

It takes a frame for an error when it has exactly one status, under either name, and an error object whose
`type`, `code` and `message` are texts. Any other it ignores, and waits five minutes for the turn to end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from proxy.errors import response_failed
from proxy.events import UNREADABLE, error_object, event_type
from proxy.outcomes import UpstreamError
from proxy.sse import event_data, framed_event, split_events
from proxy.surface import is_limit

_TEXTS = ("type", "code", "message")
_STATUS_NAMES = ("status", "status_code")
_UNSAID = {"type": "server_error", "code": "upstream_error", "message": "Upstream error"}


def error_frame(status: int, error: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """The data of the frame; what of `error` Codex could not read is left out."""
    frame = {"type": "error", "status": status, "error": _readable(error), "headers": headers}
    return msgspec.json.encode(frame)


def errors_as_refusals(events: bytes, status: int) -> bytes:
    """The events of a turn that was refused: an error that Codex could not read is made one of `status`."""

    def refusal(frame: Mapping[str, Any]) -> bytes | None:
        return None if _is_readable(frame) else error_frame(status, error_object(frame), {})

    return _each_error(events, refusal)


def errors_as_failures(events: bytes) -> bytes:
    """The events of an answer that has begun: an error may be the failure of this response only.

    A limit or a refused sign-in would be final for Codex as an error, although another account may serve
    what it sends again.
    """

    def failure(frame: Mapping[str, Any]) -> bytes | None:
        if _is_readable(frame) and not _is_final(frame):
            return None
        return response_failed(_readable(error_object(frame)), "", 0)

    return _each_error(events, failure)


def _each_error(events: bytes, changed: Callable[[Mapping[str, Any]], bytes | None]) -> bytes:
    """`changed` gives the data that takes the place of an error's; None leaves the event as it came."""
    if b'"error"' not in events:
        return events
    return b"".join(_changed(event, changed) for event in split_events(events))


def _changed(event: bytes, changed: Callable[[Mapping[str, Any]], bytes | None]) -> bytes:
    if b'"error"' not in event or event_type(data := event_data(event)) != "error":
        return event
    try:
        frame = msgspec.json.decode(data)
    except UNREADABLE:
        frame = {}
    new = changed(frame)
    return event if new is None else framed_event(new)


def _is_readable(frame: Mapping[str, Any]) -> bool:
    named = [frame[name] for name in _STATUS_NAMES if name in frame]
    error, headers = frame.get("error"), frame.get("headers")
    return (
        len(named) == 1
        and _is_status(named[0])
        and isinstance(error, dict)
        and all(isinstance(error.get(name), str | None) for name in _TEXTS)
        and isinstance(headers, dict | None)
    )


def _is_status(value: object) -> bool:
    return isinstance(value, int) and 400 <= value <= 599


def _is_final(frame: Mapping[str, Any]) -> bool:
    status = next(frame[name] for name in _STATUS_NAMES if name in frame)
    error = UpstreamError(status, frame["error"])
    return is_limit(error) or error.status == 401


def _readable(error: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in error.items() if name not in _TEXTS or isinstance(value, str)}
    return kept if kept.keys() & set(_TEXTS) else {**_UNSAID, **kept}
