"""Pure: reads upstream's event stream. Judges its first event with substance, then passes events on.

Until the judgement everything is held back; afterwards whole events go on as they came. Events are
looked into only as far as needed: the judged one, rate limits, and the terminal one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from proxy import limits
from proxy.events import (
    FAILURES,
    PREAMBLE,
    RATE_LIMITS,
    TERMINAL,
    VENDOR_PREFIX,
    Usage,
    decode_event,
    event_error,
    event_type,
)
from proxy.sse import EventSplitter, event_data, split_events

# Events that are looked into. An escaped quote keeps text inside a JSON string from matching the
# bare "error" by chance only rarely; a false match costs one parse and changes nothing.
_INTERESTING = re.compile(rb'response\.(?:completed|failed|incomplete)|codex\.rate_limits|"error"')

RateLimits = dict[str, Any]


class EventStream:
    """Sans-IO. `on_rate_limits` sees each rate-limit event and says what the client gets for it."""

    def __init__(self, on_rate_limits: Callable[[RateLimits], RateLimits | None]) -> None:
        self._on_rate_limits = on_rate_limits
        self._splitter = EventSplitter(limits.EVENT_LIMIT)
        self._held = bytearray()
        self.judged = False
        # The error object when the judged event is a failure; {} when it gives none.
        self.failure: dict[str, Any] | None = None
        # Everything up to and with the judged failure, should it be the client's own business.
        self.failed_events = b""
        self.terminal = ""
        self.error: dict[str, Any] = {}
        self.response_id = ""
        self.model = ""
        self.service_tier = ""
        self.usage: Usage | None = None

    def feed(self, block: bytes) -> bytes:
        """What can go to the client now. b"" while nothing is judged, or after a judged failure.

        Raises EventTooLarge.
        """
        complete = self._splitter.feed(block)
        if not complete:
            return b""
        if not self.judged:
            return self._judge(complete)
        if _INTERESTING.search(complete) is None:
            return complete
        return self._looked_into(complete)

    @property
    def cut_off(self) -> bool:
        """Whether the stream stopped inside an event."""
        return bool(self._splitter.pending.strip())

    def _judge(self, complete: bytes) -> bytes:
        rest = bytearray()
        for event in split_events(complete):
            if self.judged:
                rest += event
                continue
            kind = event_type(event_data(event))
            if not kind or kind in PREAMBLE or kind.startswith(VENDOR_PREFIX):
                self._held += self._look_into(event, kind)
                continue
            self.judged = True
            if kind in FAILURES:
                self.failed_events = bytes(self._held) + self._look_into(event, kind)
                self.failure = self.error
                self._held.clear()
                return b""
            rest += event
        if not self.judged:
            return b""
        held, self._held = bytes(self._held), bytearray()
        return held + (self._looked_into(bytes(rest)) if _INTERESTING.search(rest) else bytes(rest))

    def _looked_into(self, complete: bytes) -> bytes:
        passed = bytearray()
        for event in split_events(complete):
            if _INTERESTING.search(event) is None:
                passed += event
            else:
                passed += self._look_into(event, event_type(event_data(event)))
        return bytes(passed)

    def _look_into(self, event: bytes, kind: str) -> bytes:
        """Learn from one event; returns what the client gets for it."""
        if kind == RATE_LIMITS:
            return self._rewritten(event)
        if kind == "response.created" or kind in TERMINAL:
            self._learn(event, kind)
        return event

    def _learn(self, event: bytes, kind: str) -> None:
        decoded = decode_event(event_data(event))
        if kind in TERMINAL:
            self.terminal = kind
        if decoded is None:
            return
        response = decoded.response
        if response is not None:
            self.response_id = response.id or self.response_id
            self.model = response.model or self.model
            self.service_tier = response.service_tier or self.service_tier
            self.usage = response.usage or self.usage
        if kind in FAILURES:
            self.error = event_error(decoded)

    def _rewritten(self, event: bytes) -> bytes:
        try:
            payload = msgspec.json.decode(event_data(event))
        except msgspec.MsgspecError:
            return event
        replacement = self._on_rate_limits(payload)
        if replacement is None:
            return b""
        name = b"event: " + RATE_LIMITS.encode() + b"\n" if event.startswith(b"event:") else b""
        return name + b"data: " + msgspec.json.encode(replacement) + b"\n\n"
