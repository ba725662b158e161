"""Pure: one whole response object out of an event stream, and the last event of a stream made whole."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.events import TERMINAL, UNREADABLE
from proxy.sse import event_data, framed_event, split_events

_ITEM_DONE = "response.output_item.done"
# The events that may lack what the items before them told.
_LAST = frozenset({"response.completed", "response.incomplete"})
_NEEDLES = tuple(kind.encode() for kind in (_ITEM_DONE, *sorted(_LAST)))


class ResponseAssembly:
    """Sans-IO: fed with whole events, it knows the response when the terminal event has come.

    Some streams end with an empty `output`: then the items that came one by one are the output.
    """

    def __init__(self) -> None:
        self._items: dict[int, Any] = {}
        self._response: dict[str, Any] | None = None

    def feed(self, events: bytes) -> None:
        for event in split_events(events):
            if _ITEM_DONE.encode() not in event and not any(kind.encode() in event for kind in TERMINAL):
                continue
            try:
                payload = msgspec.json.decode(event_data(event))
            except UNREADABLE:
                continue
            if isinstance(payload, dict):
                self._learn(payload)

    def _learn(self, payload: dict[str, Any]) -> None:
        kind = payload.get("type")
        if kind == _ITEM_DONE:
            self._items[_place(payload.get("output_index"), self._items)] = payload.get("item")
        elif kind in TERMINAL and isinstance(payload.get("response"), dict):
            self._response = payload["response"]

    def response(self) -> dict[str, Any] | None:
        """None while no terminal event with a response has come."""
        if self._response is None:
            return None
        if self._response.get("output"):
            return self._response
        return {**self._response, "output": [self._items[index] for index in sorted(self._items)]}


class _Told(msgspec.Struct):
    type: str = ""
    output_index: Any = None
    item: msgspec.Raw = msgspec.Raw(b"")
    response: msgspec.Raw = msgspec.Raw(b"")


_told_decoder = msgspec.json.Decoder(_Told)
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FilledOutput:
    """Sans-IO: whole events pass as they came, but for a last one with an empty `output`.

    It gets the items that came one by one, since OpenAI's clients take the answer from there. Only finished
    items and the last event are looked into.
    """

    def __init__(self) -> None:
        self._items: dict[int, msgspec.Raw] = {}

    def feed(self, events: bytes) -> bytes:
        if not any(needle in events for needle in _NEEDLES):
            return events
        return b"".join(self._passed(event) for event in split_events(events))

    def _passed(self, event: bytes) -> bytes:
        if not any(needle in event for needle in _NEEDLES):
            return event
        data = event_data(event)
        try:
            told = _told_decoder.decode(data)
            if told.type == _ITEM_DONE and bytes(told.item):
                self._items[_place(told.output_index, self._items)] = told.item
            elif told.type in _LAST and self._items:
                return self._filled(event, data, _raw_object.decode(told.response))
        except UNREADABLE:
            return event
        return event

    def _filled(self, event: bytes, data: bytes, response: dict[str, msgspec.Raw]) -> bytes:
        if not _is_empty(response.get("output")):
            return event
        items = b",".join(bytes(self._items[index]) for index in sorted(self._items))
        response["output"] = msgspec.Raw(b"[" + items + b"]")
        whole = msgspec.json.encode({**_raw_object.decode(data), "response": response})
        # Its name, which an event may have besides.
        lines = [line + b"\n" for line in event.splitlines() if line and not line.startswith(b"data")]
        return b"".join(lines) + framed_event(whole)


def _place(index: object, items: dict[int, Any]) -> int:
    return index if isinstance(index, int) else len(items)


def _is_empty(output: msgspec.Raw | None) -> bool:
    return output is None or bytes(output).strip(b"[ \t\r\n]") in (b"", b"null")
