"""Pure: which events a reply sends for one request, and how the answer ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .events import (
    ImageAsk,
    Rendered,
    Shape,
    error_event,
    failed_event,
    incomplete_event,
    rendered,
    rendered_sse,
    sse_block,
)
from .replies import Cut, EndOfStream, FailEvent, Incomplete, Ok, Silence, ToolCall

Streamed = Ok | ToolCall | FailEvent | Incomplete | Cut | EndOfStream | Silence

OUTPUT_TYPES = ("function_call_output", "custom_tool_call_output")


class Ending(Enum):
    END = "end"
    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Turn:
    """`opening` goes out at once, `deltas` at the stream's pace, `closing` at once, then `ending`."""

    stream: Ok
    opening: tuple[bytes, ...]
    deltas: tuple[bytes, ...]
    closing: tuple[bytes, ...]
    ending: Ending
    finished: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request shapes its answer."""

    model: str
    service_tier: str
    has_tool_output: bool
    wants_compaction: bool
    warm_up: bool
    image: ImageAsk | None = None

    @classmethod
    def of(cls, body: dict[str, Any]) -> Asked:
        items = [item for item in body.get("input") or () if isinstance(item, dict)]
        return cls(
            model=str(body.get("model", "gpt-5.5")),
            service_tier=str(body.get("service_tier") or "default"),
            has_tool_output=any(item.get("type") in OUTPUT_TYPES for item in items),
            wants_compaction=bool(items) and items[-1].get("type") == "compaction_trigger",
            warm_up=body.get("generate") is False,
            image=_image_asked(body, items),
        )


def _image_asked(body: dict[str, Any], items: list[dict[str, Any]]) -> ImageAsk | None:
    """Only a request that leaves no choice of tools is for an image."""
    if body.get("tool_choice") != {"type": "image_generation"}:
        return None
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "image_generation"]
    if not tools:
        return None
    parts = [part for item in items for part in item.get("content") or () if isinstance(part, dict)]
    return ImageAsk(
        partials=tools[0].get("partial_images", 0),
        size=tools[0].get("size", "auto"),
        output_format=tools[0].get("output_format", "png"),
        has_input=any(part.get("type") == "input_image" for part in parts),
    )


def _calls(reply: ToolCall) -> tuple[tuple[str, str], ...]:
    arguments = reply.arguments or json.dumps({"cmd": reply.command})
    return ((reply.name, arguments),) * reply.count


def shape_of(reply: Streamed, asked: Asked, owner: str) -> Shape:
    stream = reply if isinstance(reply, Ok) else reply.then if isinstance(reply, ToolCall) else reply.stream
    calls = _calls(reply) if isinstance(reply, ToolCall) and not asked.has_tool_output else ()
    return Shape(
        stream=stream,
        model=asked.model,
        owner=owner,
        service_tier=asked.service_tier,
        calls=() if asked.wants_compaction else calls,
        compaction=asked.wants_compaction,
        image=asked.image if stream.image else None,
        empty=asked.warm_up,
    )


def _failure(reply: FailEvent | Incomplete, shape: Shape, sequence_number: int) -> bytes:
    if isinstance(reply, Incomplete):
        return incomplete_event(shape, reply.reason, sequence_number)
    if reply.kind == "error":
        return error_event(dict(reply.error), sequence_number, nested=reply.nested)
    return failed_event(shape, dict(reply.error), sequence_number)


def _ending(reply: Streamed) -> Ending:
    if isinstance(reply, Cut):
        return Ending.RESET if reply.reset else Ending.CLOSE
    return Ending.SILENCE if isinstance(reply, Silence) else Ending.END


def turn_of(reply: Streamed, shape: Shape, *, sse: bool) -> Turn:
    parts: Rendered = rendered_sse(shape) if sse else rendered(shape)
    stream = shape.stream
    if isinstance(reply, Ok | ToolCall):
        opening = parts.preamble + parts.lead
        return Turn(stream, opening, parts.deltas, parts.closing, Ending.END, finished=True)
    after = len(parts.deltas) if isinstance(reply, Incomplete) else reply.after or 0
    opening = parts.preamble + (parts.lead if after else ())
    deltas = parts.deltas[:after]
    closing: tuple[bytes, ...] = ()
    if isinstance(reply, FailEvent | Incomplete):
        failure = _failure(reply, shape, len(opening) + len(deltas))
        closing = (sse_block(failure) if sse else failure,)
    return Turn(stream, opening, deltas, closing, _ending(reply), finished=bool(closing))
