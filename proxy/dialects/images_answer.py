"""Pure: upstream's events as the answer of OpenAI's Images API, in events or as one object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.events import FAILURES, TERMINAL, UNREADABLE
from proxy.sse import event_data, split_events

_CALL = "image_generation_call"
_PARTIAL = "response.image_generation_call.partial_image"
_ITEM_DONE = "response.output_item.done"
_NEEDLES = (_PARTIAL.encode(), _ITEM_DONE.encode(), *(kind.encode() for kind in TERMINAL))
# What an image says of itself.
_SETTINGS = ("background", "output_format", "quality", "size")
_NO_DETAILS = {"image_tokens": 0, "text_tokens": 0}


class ImagesAnswer:
    """Sans-IO: fed with whole events, it hands out the client's and keeps the answer.

    `kind` begins the names of its events: image_generation or image_edit.
    """

    def __init__(self, kind: str, created: int) -> None:
        self._kind = kind
        self._created = created
        self._calls: dict[str, Mapping[str, Any]] = {}
        self._said: list[str] = []
        self._usage: dict[str, Any] | None = None
        self._has_ended = False

    def feed(self, events: bytes) -> bytes:
        out = bytearray()
        for event in split_events(events):
            data = event_data(event)
            if self._has_ended or not any(needle in data for needle in _NEEDLES):
                continue
            try:
                payload = msgspec.json.decode(data)
            except UNREADABLE:
                continue
            if isinstance(payload, dict):
                out += self._read(payload)
        return bytes(out)

    def _read(self, event: Mapping[str, Any]) -> bytes:
        kind = event.get("type")
        if kind == _PARTIAL:
            return self._partial(event)
        if kind == _ITEM_DONE:
            self._learn_item(event.get("item"))
        elif kind in TERMINAL and kind not in FAILURES:
            return self._conclude(event.get("response"))
        return b""

    def _partial(self, event: Mapping[str, Any]) -> bytes:
        index = event.get("partial_image_index")
        return self._event(
            "partial_image",
            {
                "b64_json": event.get("partial_image_b64"),
                "partial_image_index": index if isinstance(index, int) else 0,
                **self._settings(event),
            },
        )

    def _learn_item(self, item: Any) -> None:
        if not isinstance(item, dict):
            return
        if item.get("type") == _CALL:
            self._calls[str(item.get("id") or len(self._calls))] = item
        elif item.get("type") == "message" and isinstance(item.get("content"), list):
            parts = [part for part in item["content"] if isinstance(part, dict)]
            self._said += [str(part.get("text") or part.get("refusal") or "") for part in parts]

    def _conclude(self, response: Any) -> bytes:
        whole = response if isinstance(response, dict) else {}
        output = whole.get("output")
        for item in output if isinstance(output, list) else []:
            if isinstance(item, dict) and item.get("type") == _CALL:
                self._learn_item(item)
        self._usage = image_usage(whole)
        self._has_ended = bool(self._images())
        return b"".join(
            self._event(
                "completed",
                {"b64_json": call["result"], **self._settings(call), "usage": self._usage},
            )
            for call in self._images()
        )

    def _images(self) -> list[Mapping[str, Any]]:
        return [
            call for call in self._calls.values() if isinstance(call.get("result"), str) and call["result"]
        ]

    def _settings(self, source: Mapping[str, Any]) -> dict[str, Any]:
        return {field: source[field] for field in _SETTINGS if isinstance(source.get(field), str)}

    def _event(self, name: str, fields: Mapping[str, Any]) -> bytes:
        kind = f"{self._kind}.{name}"
        data = msgspec.json.encode({"type": kind, "created_at": self._created, **fields})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def completion(self) -> dict[str, Any] | None:
        """The whole answer; None when there is no image."""
        images = self._images() if self._has_ended else []
        if not images:
            return None
        data = [{"b64_json": call["result"], "revised_prompt": call.get("revised_prompt")} for call in images]
        return {"created": self._created, "data": data, **self._settings(images[0]), "usage": self._usage}

    @property
    def trouble(self) -> dict[str, Any]:
        """Why a turn that went well has made no image."""
        for call in self._calls.values():
            error = call.get("error")
            if isinstance(error, dict):
                code = error.get("code") or "moderation_blocked"
                return {**error, "type": "invalid_request_error", "code": code}
        if said := " ".join(filter(None, self._said)).strip():
            return {"type": "invalid_request_error", "code": "no_image", "message": said[:2000]}
        return {"type": "server_error", "code": "no_image", "message": "Upstream made no image."}

    def end_with_error(self, error: Mapping[str, Any]) -> bytes:
        """The end of a stream that failed; b"" when it has had its image."""
        if self._has_ended:
            return b""
        return (
            b"event: error\ndata: " + json.dumps({"type": "error", "error": dict(error)}).encode() + b"\n\n"
        )


def image_usage(response: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the tool has used, where upstream says it; else what the whole turn has."""
    tools = response.get("tool_usage")
    own = tools.get("image_gen") if isinstance(tools, dict) else None
    found = own if isinstance(own, dict) else response.get("usage")
    if not isinstance(found, dict):
        return None
    counts = {name: _count(found.get(f"{name}_tokens")) for name in ("input", "output")}
    details = found.get("input_tokens_details")
    if not isinstance(details, dict) or not details.keys() & _NO_DETAILS.keys():
        details = {"text_tokens": counts["input"]}
    return {
        "input_tokens": counts["input"],
        "output_tokens": counts["output"],
        "total_tokens": _count(found.get("total_tokens")) or sum(counts.values()),
        "input_tokens_details": {name: _count(details.get(name)) for name in _NO_DETAILS},
    }


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
