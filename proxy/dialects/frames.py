"""Pure: a websocket's frames, which are requests with a type."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

import msgspec

from proxy.dialects.checks import decoded_object
from proxy.dialects.codex import CodexRequest, decoded_fields, plain_value, understood
from proxy.dialects.responses import read_responses_request
from proxy.errors import BadRequest

CREATE = "response.create"
# What only a frame has.
_OF_FRAMES = ("type", "generate", "previous_response_id")


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """`upstream.body` is the frame that goes out. A warm-up asks for no answer."""

    upstream: CodexRequest
    is_warm_up: bool
    has_derived_key: bool = False


def read_frame(text: bytes) -> FrameRequest:
    """Codex's own frame, touched only where it must be. Raises BadRequest."""
    fields = decoded_fields(text)
    previous = plain_value(fields.get("previous_response_id"))
    _check(plain_value(fields.get("type")), previous)
    request = understood(text, fields)
    return FrameRequest(
        replace(request, previous_response_id=previous or ""),
        plain_value(fields.get("generate")) is False,
    )


def read_responses_frame(text: bytes, key_owner: str = "", models: Collection[str] = ()) -> FrameRequest:
    """An OpenAI client's frame, made into upstream's shape. Raises BadRequest."""
    payload = decoded_object(text)
    own = {name: payload.pop(name) for name in _OF_FRAMES if name in payload}
    previous = own.get("previous_response_id")
    _check(own.get("type"), previous)
    read = read_responses_request(msgspec.json.encode(payload), key_owner, models)
    fields = {**own, **msgspec.json.decode(read.upstream.body)}
    request = replace(read.upstream, previous_response_id=previous or "")
    if previous and read.has_derived_key:
        # What comes later in a conversation says too little to derive its key from.
        del fields["prompt_cache_key"]
        request = replace(request, prompt_cache_key=None)
    request = replace(request, body=msgspec.json.encode(fields))
    return FrameRequest(request, own.get("generate") is False, read.has_derived_key)


def _check(kind: Any, previous: Any) -> None:
    if kind != CREATE:
        shown = json.dumps(kind)[:100]
        raise BadRequest(
            f"A frame of type {shown} is not understood here; send {CREATE}.",
            code="unknown_frame_type",
            param="type",
        )
    if previous is not None and not isinstance(previous, str):
        raise BadRequest("previous_response_id must be a text.", param="previous_response_id")


def http_body(frame: bytes) -> bytes:
    """The same request as the body of a POST."""
    fields = decoded_fields(frame)
    return msgspec.json.encode({name: raw for name, raw in fields.items() if name not in _OF_FRAMES})


def warm_up_events(frame: bytes) -> bytes | None:
    """The answer to a warm-up where there is no socket to warm; None for any other frame."""
    fields = decoded_fields(frame)
    if plain_value(fields.get("generate")) is not False:
        return None
    response = {
        "id": f"resp_{token_hex(12)}",
        "object": "response",
        "status": "in_progress",
        "model": plain_value(fields.get("model")),
        "output": [],
    }
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    completed = {**response, "status": "completed", "usage": usage}
    return b"".join(
        b"data: " + msgspec.json.encode({"type": kind, "response": body}) + b"\n\n"
        for kind, body in (("response.created", response), ("response.completed", completed))
    )
