"""Pure: the events of one simulated response, rendered once per kind of answer and stamped per request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .replies import Ok, Usage
from .tokens import encrypted_content

# A rendered answer holds these instead of its serial and its time, so that it can be kept and reused.
SERIAL = "5e71a15e71a15e71a15e71a1"
CREATED_AT = 4_102_444_799
SERIAL_BYTES = SERIAL.encode()
CREATED_AT_BYTES = str(CREATED_AT).encode()

# A PNG of one pixel.
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
IMAGE_USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 12},
    "output_tokens": 272,
    "total_tokens": 284,
}

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageAsk:
    """What the tool that makes an image was told."""

    partials: int = 0
    size: str = "auto"
    output_format: str = "png"
    has_input: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything that decides an answer's bytes apart from its serial and time."""

    stream: Ok
    model: str
    owner: str
    service_tier: str = "default"
    calls: tuple[tuple[str, str], ...] = ()
    compaction: bool = False
    image: ImageAsk | None = None
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """JSON of each event, in order; a failure may replace whatever follows any of the four parts."""

    preamble: tuple[bytes, ...]
    lead: tuple[bytes, ...]
    deltas: tuple[bytes, ...]
    closing: tuple[bytes, ...]


def pieces(stream: Ok) -> list[str]:
    if stream.deltas is None:
        words = stream.text.split(" ")
        return [word + " " for word in words[:-1]] + words[-1:]
    return [f"{number:05d} ".ljust(stream.delta_bytes, "x") for number in range(stream.deltas)]


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def response_object(shape: Shape, status: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"resp_{SERIAL}",
        "object": "response",
        "created_at": CREATED_AT,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": shape.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": shape.service_tier,
        "store": False,
        "tool_choice": "auto",
        "usage": None,
        "metadata": {},
    } | changes


def _reasoning(shape: Shape, index: int) -> tuple[Event, list[Event]]:
    item = {
        "id": f"rs_{SERIAL}",
        "type": "reasoning",
        "summary": [],
        "encrypted_content": encrypted_content(shape.owner, SERIAL),
    }
    return item, _added_and_done(index, item)


def _added_and_done(index: int, item: Event, between: list[Event] | None = None) -> list[Event]:
    return [
        {"type": "response.output_item.added", "output_index": index, "item": item},
        *(between or ()),
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _tool_call(index: int, number: int, call: tuple[str, str]) -> tuple[Event, list[Event]]:
    name, arguments = call
    item_id = f"fc_{number}{SERIAL}"
    item = {
        "id": item_id,
        "type": "function_call",
        "status": "completed",
        "arguments": arguments,
        "call_id": f"call_{number}{SERIAL}",
        "name": name,
    }
    place = {"item_id": item_id, "output_index": index}
    added, done = _added_and_done(index, item)
    return item, [
        added | {"item": item | {"status": "in_progress", "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "delta": arguments} | place,
        {"type": "response.function_call_arguments.done", "arguments": arguments} | place,
        done,
    ]


def _message(index: int, texts: list[str]) -> tuple[Event, list[Event], list[Event], list[Event]]:
    """The finished item, and the events before, of and after its text."""
    item_id, text = f"msg_{SERIAL}", "".join(texts)
    place = {"item_id": item_id, "output_index": index, "content_index": 0}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    item = {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    added, done = _added_and_done(index, item)
    lead = [
        added | {"item": item | {"status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place, "part": part | {"text": ""}},
    ]
    deltas = [
        {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in texts
    ]
    closing = [
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        done,
    ]
    return item, lead, deltas, closing


def _image(asked: ImageAsk) -> tuple[Event, list[Event], list[Event]]:
    """The finished item, the events of what it looks like on the way, and those of its end."""
    settings = {"size": asked.size, "output_format": asked.output_format, "quality": "high"}
    item = {
        "id": f"ig_{SERIAL}",
        "type": "image_generation_call",
        "status": "completed",
        "action": "edit" if asked.has_input else "generate",
        "background": "opaque",
        "revised_prompt": "A simulated image.",
        "result": IMAGE,
        **settings,
    }
    added, done = _added_and_done(0, item)
    partials = [
        {
            "type": "response.image_generation_call.partial_image",
            "item_id": item["id"],
            "output_index": 0,
            "partial_image_index": number,
            "partial_image_b64": IMAGE,
            "background": "opaque",
            **settings,
        }
        for number in range(asked.partials)
    ]
    started = {"id": item["id"], "type": item["type"], "status": "in_progress", "result": None}
    return item, [added | {"item": started}, *partials], [done]


def _parts(shape: Shape) -> tuple[list[Event], list[Event], list[Event]]:
    output: list[Event] = []
    lead: list[Event] = []
    deltas: list[Event] = []
    closing: list[Event] = []
    if shape.compaction:
        item = {
            "id": f"cmp_{SERIAL}",
            "type": "compaction",
            "encrypted_content": encrypted_content(shape.owner, SERIAL),
        }
        output.append(item)
        closing += _added_and_done(0, item)
    elif shape.image is not None:
        item, deltas, closing = _image(shape.image)
        output.append(item)
    elif not shape.empty:
        if shape.stream.reasoning:
            item, lead = _reasoning(shape, 0)
            output.append(item)
        for number, call in enumerate(shape.calls):
            item, events = _tool_call(len(output), number, call)
            output.append(item)
            closing += events
        if not shape.calls:
            item, before, deltas, closing = _message(len(output), pieces(shape.stream))
            output.append(item)
            lead = lead + before
    usage = usage_object(Usage(0, 0, 0, 0) if shape.empty else shape.stream.usage)
    told = [] if shape.stream.empty_output else output
    completed = response_object(shape, "completed", output=told, usage=usage)
    if shape.image is not None:
        completed["tool_usage"] = {"image_gen": IMAGE_USAGE}
    return lead, deltas, [*closing, {"type": "response.completed", "response": completed}]


def _numbered(events: list[Event], start: int) -> tuple[bytes, ...]:
    return tuple(
        compact_json({"type": event["type"], "sequence_number": start + number} | event)
        for number, event in enumerate(events)
    )


@lru_cache(maxsize=256)
def rendered(shape: Shape) -> Rendered:
    started = response_object(shape, "in_progress")
    preamble = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
    ]
    lead, deltas, closing = _parts(shape)
    first = len(preamble)
    return Rendered(
        preamble=_numbered(preamble, 0) if shape.stream.preamble else (),
        lead=_numbered(lead, first),
        deltas=_numbered(deltas, first + len(lead)),
        closing=_numbered(closing, first + len(lead) + len(deltas)),
    )


def failed_event(shape: Shape, error: dict[str, Any], sequence_number: int) -> bytes:
    response = response_object(shape, "failed", error=error)
    event = {"type": "response.failed", "sequence_number": sequence_number, "response": response}
    return compact_json(event)


def error_event(error: dict[str, Any], sequence_number: int, *, nested: bool) -> bytes:
    head: Event = {"type": "error", "sequence_number": sequence_number}
    return compact_json(head | ({"error": error} if nested else {"param": None} | error))


def incomplete_event(shape: Shape, reason: str, sequence_number: int) -> bytes:
    response = response_object(
        shape, "incomplete", incomplete_details={"reason": reason}, usage=usage_object(shape.stream.usage)
    )
    event = {"type": "response.incomplete", "sequence_number": sequence_number, "response": response}
    return compact_json(event)


def compact_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def stamped(data: bytes, serial: str, now: float) -> bytes:
    data = data.replace(SERIAL_BYTES, serial.encode())
    return data.replace(CREATED_AT_BYTES, str(int(now)).encode())


def event_type(data: bytes) -> bytes:
    """The type of a rendered event, which always comes first in it."""
    return data[len(b'{"type":"') : data.index(b'"', len(b'{"type":"'))]


def sse_block(data: bytes) -> bytes:
    return b"event: " + event_type(data) + b"\ndata: " + data + b"\n\n"


@lru_cache(maxsize=256)
def rendered_sse(shape: Shape) -> Rendered:
    plain = rendered(shape)
    return Rendered(
        preamble=tuple(map(sse_block, plain.preamble)),
        lead=tuple(map(sse_block, plain.lead)),
        deltas=tuple(map(sse_block, plain.deltas)),
        closing=tuple(map(sse_block, plain.closing)),
    )
