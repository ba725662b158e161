"""Pure: upstream's events as the chunks of a chat stream, or as one completion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.dialects.tool_calls import Fragment, ToolCalls
from proxy.events import END_MARKER, FAILURES, TERMINAL, UNREADABLE
from proxy.sse import event_data, split_events

DONE = b"data: [DONE]\n\n"
_CONTENT = b"response.output_text.delta"
_REASONING = "response.reasoning_summary_text.delta"
_DELTA_FIELDS = {
    _CONTENT.decode(): "content",
    "response.refusal.delta": "refusal",
    # Not OpenAI's own, but what chat clients read a summary of the reasoning from.
    _REASONING: "reasoning_content",
}
_FINISH_BY_REASON = {"max_output_tokens": "length", "content_filter": "content_filter"}


class _Delta(msgspec.Struct):
    type: str
    delta: msgspec.Raw = msgspec.Raw(b"")
    output_index: Any = None
    item_id: Any = None


_delta_decoder = msgspec.json.Decoder(_Delta)


class _Told:
    """The messages whose text the client has, as far as upstream names them: by place, by id, or by both."""

    def __init__(self) -> None:
        self._places: set[int] = set()
        self._ids: set[str] = set()
        self._is_anything = False

    def add(self, place: object, item_id: object) -> None:
        self._is_anything = True
        if isinstance(place, int):
            self._places.add(place)
        if isinstance(item_id, str):
            self._ids.add(item_id)

    def has(self, place: object, item_id: object) -> bool:
        """Where nothing can be compared, whatever was told is taken for this one: no text comes twice."""
        comparable = False
        for name, told in ((place, self._places), (item_id, self._ids)):
            if isinstance(name, (int, str)) and told:
                if name in told:
                    return True
                comparable = True
        return self._is_anything and not comparable


class ChatAnswer:
    """Sans-IO: fed with whole events, it hands out chunks and keeps the completion.

    After the terminal event, or a [DONE] in its place, nothing is read. `failed` says that it was a failure:
    the chunks then lack their end, which `end_with_error` gives.
    """

    # Of a turn that ended well, and yet with nothing to tell.
    trouble: Mapping[str, Any] = {"message": "Upstream gave no answer."}

    def __init__(self, answer_id: str, created: int, model: str, *, include_usage: bool = False) -> None:
        self._head = {"id": answer_id, "created": created, "model": model}
        self._include_usage = include_usage
        self._texts: dict[str, list[str]] = {name: [] for name in _DELTA_FIELDS.values()}
        self._told = _Told()
        self._calls = ToolCalls()
        self._usage: dict[str, Any] | None = None
        self._has_role = False
        self._finish_reason = ""
        self.failed = False
        self._frame_for(model)

    @property
    def ended(self) -> bool:
        return self.failed or bool(self._finish_reason)

    def feed(self, events: bytes) -> bytes:
        """The chunks for whole events; with the terminal event come the last chunks and [DONE]."""
        chunks = bytearray()
        for event in split_events(events):
            if self.ended:
                break
            chunks += self._chunks(event_data(event))
        return bytes(chunks)

    def _chunks(self, data: bytes) -> bytes:
        if data == END_MARKER:
            # Nobody has said that the answer is complete.
            self.failed = True
            return b""
        try:
            if _CONTENT in data:
                event = _delta_decoder.decode(data)
                if event.type == _CONTENT.decode():
                    return self._content(event)
            payload = msgspec.json.decode(data)
        except UNREADABLE:
            # What cannot be read has no place in a chat stream.
            return b""
        return self._chunks_for(payload) if isinstance(payload, dict) else b""

    def _content(self, event: _Delta) -> bytes:
        """The hot path: the text goes on as the JSON it came in."""
        self._texts["content"].append(msgspec.json.decode(event.delta, type=str))
        self._told.add(event.output_index, event.item_id)
        return self._role() + self._before_content + bytes(event.delta) + self._after_content

    def _chunks_for(self, event: Mapping[str, Any]) -> bytes:
        kind = event.get("type")
        if kind == "response.created":
            self._learn_model(event.get("response"))
            return b""
        if kind in TERMINAL:
            return self._conclude(kind, event.get("response"))
        if isinstance(kind, str) and kind in _DELTA_FIELDS and isinstance(event.get("delta"), str):
            if kind != _REASONING:
                self._told.add(event.get("output_index"), event.get("item_id"))
            return self._text(_DELTA_FIELDS[kind], event["delta"])
        item = event.get("item")
        if kind == "response.output_item.done" and _parts(item):
            return self._untold_text([item], event.get("output_index"))
        return self._told_calls(self._calls.feed(event))

    def _told_calls(self, fragments: list[Fragment]) -> bytes:
        return b"".join(self._chunk({"tool_calls": [fragment.delta()]}) for fragment in fragments)

    def _learn_model(self, response: object) -> None:
        model = response.get("model") if isinstance(response, Mapping) else None
        if isinstance(model, str) and model and not self._has_role:
            self._frame_for(model)

    def _text(self, name: str, text: str) -> bytes:
        self._texts[name].append(text)
        return self._chunk({name: text})

    def _untold_text(self, messages: list[Any], place: object = None) -> bytes:
        """Text that only finished messages tell."""
        untold = [message for message in messages if not self._told.has(place, message.get("id"))]
        for message in messages:
            # By both names from now on: the terminal event has the id only.
            self._told.add(place, message.get("id"))
        chunks = b""
        for part in (part for message in untold for part in _parts(message)):
            for kind, source, name in (("output_text", "text", "content"), ("refusal", "refusal", "refusal")):
                if part.get("type") == kind and isinstance(part.get(source), str) and part[source]:
                    chunks += self._text(name, part[source])
        return chunks

    def _conclude(self, kind: str, response: object) -> bytes:
        if kind in FAILURES:
            self.failed = True
            return b""
        whole: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
        output = whole.get("output")
        items = output if isinstance(output, list) else []
        # By their ids only: places here may differ from those of the events.
        chunks = self._untold_text([item for item in items if _parts(item)])
        for item in items:
            chunks += self._told_calls(self._calls.feed({"type": "response.output_item.done", "item": item}))
        chunks += self._told_calls(self._calls.finish())
        self._usage = chat_usage(whole.get("usage"))
        self._finish_reason = _finish_reason(kind, whole, has_calls=bool(self._calls))
        return chunks + self._chunk({}, self._finish_reason) + self._usage_chunk() + DONE

    def end_with_error(self, error: Mapping[str, Any]) -> bytes:
        """The end of a stream that failed; b"" when it has had its end."""
        if self._finish_reason:
            return b""
        return error_chunk(error) + DONE

    def completion(self) -> dict[str, Any] | None:
        """The whole answer; None while the terminal event has not come, and after a failure."""
        if not self._finish_reason:
            return None
        calls = self._calls.whole()
        content, refusal, reasoning = ("".join(self._texts[name]) for name in _DELTA_FIELDS.values())
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content or (None if calls or refusal else ""),
            "refusal": refusal or None,
        }
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage}

    # --- framing ------------------------------------------------------------------------------

    def _frame_for(self, model: str) -> None:
        self._head["model"] = model
        marker = "\x00"
        before, after = self._rendered({"content": marker}).rsplit(json.dumps(marker).encode(), 1)
        self._before_content, self._after_content = before, after

    def _rendered(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def _role(self) -> bytes:
        if self._has_role:
            return b""
        self._has_role = True
        return self._rendered({"role": "assistant", "content": ""})

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        return self._role() + self._rendered(delta, finish_reason)

    def _usage_chunk(self) -> bytes:
        if not self._include_usage:
            return b""
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage}
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def error_chunk(error: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"


def chat_usage(usage: object) -> dict[str, Any] | None:
    """Token counts by the names of Chat Completions."""
    if not isinstance(usage, Mapping):
        return None
    prompt, answer = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": _count(usage.get("total_tokens")) or prompt + answer,
        "prompt_tokens_details": {"cached_tokens": _detail(usage, "input_tokens_details", "cached_tokens")},
        "completion_tokens_details": {
            "reasoning_tokens": _detail(usage, "output_tokens_details", "reasoning_tokens")
        },
    }


def _detail(usage: Mapping[str, Any], details: str, name: str) -> int:
    found = usage.get(details)
    return _count(found.get(name)) if isinstance(found, Mapping) else 0


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _finish_reason(kind: str, response: Mapping[str, Any], *, has_calls: bool) -> str:
    """Being cut off says more than having called a tool."""
    if kind == "response.incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return _FINISH_BY_REASON.get(str(reason), "length")
    return "tool_calls" if has_calls else "stop"


def _parts(item: Any) -> list[Mapping[str, Any]]:
    content = item.get("content") if isinstance(item, Mapping) and item.get("type") == "message" else None
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
