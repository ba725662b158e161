"""Pure: one whole response object out of an event stream."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.events import TERMINAL, UNREADABLE
from proxy.sse import event_data, split_events


class ResponseAssembly:
    """Sans-IO: fed with whole events, it knows the response when the terminal event has come.

    Some streams end with an empty `output`: then the items that came one by one are the output.
    """

    def __init__(self) -> None:
        self._items: dict[int, Any] = {}
        self._response: dict[str, Any] | None = None

    def feed(self, events: bytes) -> None:
        for event in split_events(events):
            if b"response.output_item.done" not in event and not any(
                kind.encode() in event for kind in TERMINAL
            ):
                continue
            try:
                payload = msgspec.json.decode(event_data(event))
            except UNREADABLE:
                continue
            if isinstance(payload, dict):
                self._learn(payload)

    def _learn(self, payload: dict[str, Any]) -> None:
        kind = payload.get("type")
        if kind == "response.output_item.done":
            index = payload.get("output_index")
            self._items[index if isinstance(index, int) else len(self._items)] = payload.get("item")
        elif kind in TERMINAL and isinstance(payload.get("response"), dict):
            self._response = payload["response"]

    def response(self) -> dict[str, Any] | None:
        """None while no terminal event with a response has come."""
        if self._response is None:
            return None
        if self._response.get("output"):
            return self._response
        return {**self._response, "output": [self._items[index] for index in sorted(self._items)]}
