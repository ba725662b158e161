"""Pure: the few events we look into, decoded no further than needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from usage.windows import model_limit_id

# Vendor events and the preamble come before the event that is judged.
PREAMBLE = frozenset({"response.created", "response.queued", "response.in_progress"})
VENDOR_PREFIX = "codex."
RATE_LIMITS = "codex.rate_limits"
# With a refusal: which of several limits was reached.
ACTIVE_LIMIT = "x-codex-active-limit"
FAILURES = frozenset({"response.failed", "error"})
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})

# What some streams end with; no event object.
END_MARKER = b"[DONE]"

KEEP_ALIVE_NATIVE = b'data: {"type":"codex.keepalive"}\n\n'
KEEP_ALIVE_COMMENT = b": keep-alive\n\n"


# What decoding JSON raises for text that is none, is not UTF-8, or is nested too deeply.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class ResponseHead(msgspec.Struct):
    """Of a response object: what a record and a failure need."""

    id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: Usage | None = None
    error: Any = None
    incomplete_details: Any = None


class Event(msgspec.Struct):
    type: str = ""
    response: ResponseHead | None = None
    error: Any = None
    code: Any = None
    message: Any = None
    # Over a websocket an error says which HTTP status it would have been, under either name.
    status: Any = None
    status_code: Any = None
    headers: Any = None


class EventType(msgspec.Struct):
    type: str = ""


_type_decoder = msgspec.json.Decoder(EventType)
_event_decoder = msgspec.json.Decoder(Event)


def event_type(data: bytes) -> str:
    """The type of an event; "" for what is not an event object (such as [DONE])."""
    try:
        return _type_decoder.decode(data).type
    except UNREADABLE:
        return ""


def decode_event(data: bytes) -> Event | None:
    """None for what does not look like an event: it is passed on as it came."""
    try:
        return _event_decoder.decode(data)
    except UNREADABLE:
        return None


def event_error(event: Event) -> dict[str, Any]:
    """The error object of a failure event, wherever it is kept; {} when there is none."""
    in_response = event.response.error if event.response else None
    if isinstance(in_response, dict) and not isinstance(event.error, dict):
        return in_response
    return error_object({"error": event.error, "code": event.code, "message": event.message})


def error_object(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a refusal's body or an error event says went wrong, in whichever of its forms; {} for nothing."""
    error, detail = payload.get("error"), payload.get("detail")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"code": error, "message": str(payload.get("error_description") or error)}
    if isinstance(detail, dict):
        return detail
    if isinstance(detail, str):
        return {"message": detail}
    if isinstance(detail, list) and detail:
        return {"message": "; ".join(_complaint(entry) for entry in detail)}
    said = {name: payload.get(name) for name in ("code", "message")}
    return said if any(isinstance(value, str) and value for value in said.values()) else {}


def _complaint(entry: Any) -> str:
    """One of a list of mistakes, as FastAPI has them: what is wrong, behind where."""
    if not isinstance(entry, dict):
        return str(entry)
    where = entry.get("loc")
    place = ".".join(map(str, where)) if isinstance(where, list) else ""
    what = str(entry.get("msg") or entry.get("type") or "is wrong")
    return f"{place}: {what}" if place else what


def event_limit_id(event: Event) -> str:
    """The limit for one model that a failure's own headers name."""
    headers = event.headers if isinstance(event.headers, dict) else {}
    return model_limit_id(headers.get(ACTIVE_LIMIT))


def event_status(event: Event) -> int | None:
    for found in (event.status, event.status_code):
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None
