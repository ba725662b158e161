"""Pure: reads upstream's event stream. Judges its first event with substance, then passes events on.

Until the judgement everything is held back; afterwards whole events go on as they came. Events are
looked into only as far as needed: the judged one, rate limits, and the terminal one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from proxy import limits
from proxy.events import (
    END_MARKER,
    FAILURES,
    PREAMBLE,
    RATE_LIMITS,
    TERMINAL,
    UNREADABLE,
    VENDOR_PREFIX,
    ResponseHead,
    Usage,
    decode_event,
    event_error,
    event_limit_id,
    event_status,
    event_type,
)
from proxy.sse import EventSplitter, event_data, split_events

# What an event that is looked into holds. Inside a JSON string the quotes would be escaped; a chance match
# costs one parse and changes nothing. Plain searches: a regular expression over the same bytes takes three
# times as long as all of them.
_NEEDLES = (
    b'"response.completed"',
    b'"response.failed"',
    b'"response.incomplete"',
    b'"codex.rate_limits"',
    b'"error"',
    b"[DONE]",
)


def _interesting(data: bytes) -> list[int]:
    """Offsets inside the events to look into, in order. No byte is searched twice for the same."""
    found = []
    for needle in _NEEDLES:
        offset = data.find(needle)
        while offset >= 0:
            found.append(offset)
            end = data.find(b"\n\n", offset)
            offset = data.find(needle, end) if end >= 0 else -1
    found.sort()
    return found


RateLimits = dict[str, Any]


OnRateLimits = Callable[[RateLimits], RateLimits | None]


class Reader(ABC):
    """Reads one answer of upstream, and knows afterwards what it came to. Sans-IO."""

    # The statuses that promise an answer; any other is a refusal.
    answers = range(200, 201)
    # What is said of an answer that ended unjudged.
    unjudged = "Upstream ended the stream before the answer began."

    def __init__(self) -> None:
        self.judged = False
        # The error object when the judged event is a failure; {} when it gives none.
        self.failure: dict[str, Any] | None = None
        # Everything up to and with the judged failure, should it be the client's own business.
        self.failed_events = b""
        self.terminal = ""
        # Upstream ended its stream in so many words, and before a terminal event: nothing after it counts.
        self.is_cut_short = False
        self.error: dict[str, Any] = {}
        self.error_status: int | None = None
        # The limit for one model that the failure is about.
        self.error_limit_id = ""
        self.response_id = ""
        self.model = ""
        self.service_tier = ""
        self.usage: Usage | None = None

    @property
    def is_over(self) -> bool:
        """Whether to wait for more would be in vain: some upstreams leave their connection open."""
        return bool(self.terminal) or self.is_cut_short

    @abstractmethod
    def feed(self, block: bytes) -> bytes:
        """What can go to the client now; b"" while nothing is judged. Raises EventTooLarge."""

    def end(self) -> bytes:
        """No more blocks come; what can go to the client now."""
        return b""

    def _learn_response(self, response: ResponseHead) -> None:
        self.response_id = response.id or self.response_id
        self.model = response.model or self.model
        self.service_tier = response.service_tier or self.service_tier
        self.usage = response.usage or self.usage


class EventStream(Reader):
    """`on_rate_limits` sees each rate-limit event and says what the client gets for it."""

    def __init__(self, on_rate_limits: OnRateLimits, event_limit: int = limits.EVENT_LIMIT) -> None:
        super().__init__()
        self._on_rate_limits = on_rate_limits
        self._splitter = EventSplitter(event_limit)
        self._held = bytearray()

    def feed(self, block: bytes) -> bytes:
        """What can go to the client now. b"" while nothing is judged, or after a judged failure.

        Raises EventTooLarge.
        """
        complete = self._splitter.feed(block)
        if not complete or self.is_cut_short:
            return b""
        if not self.judged:
            return self._judge(complete)
        return self._looked_into(complete)

    @property
    def cut_off(self) -> bool:
        """Whether the stream stopped inside an event."""
        return bool(self._splitter.pending.strip())

    def _judge(self, complete: bytes) -> bytes:
        passed = 0
        for event in split_events(complete):
            passed += len(event)
            data = event_data(event)
            kind = event_type(data)
            if not kind or kind in PREAMBLE or kind.startswith(VENDOR_PREFIX):
                self._held += self._learned(event, data, kind)
                if self.is_cut_short:
                    return b""
                continue
            self.judged = True
            if kind in FAILURES:
                self.failed_events = bytes(self._held) + self._learned(event, data, kind)
                self.failure = self.error
                self._held.clear()
                return b""
            held, self._held = bytes(self._held), bytearray()
            return held + self._looked_into(complete[passed - len(event) :])
        return b""

    def _looked_into(self, complete: bytes) -> bytes:
        """Only the events that matched are cut out; what lies between them passes in one piece."""
        found = _interesting(complete)
        if not found:
            return complete
        if b"\r" in complete:
            return b"".join(map(self._look_into, split_events(complete)))
        passed = bytearray()
        done = 0
        for offset in found:
            if offset < done:
                continue
            boundary = complete.rfind(b"\n\n", done, offset)
            start = done if boundary < 0 else boundary + 2
            end = complete.index(b"\n\n", offset) + 2
            passed += complete[done:start]
            passed += self._look_into(complete[start:end])
            if self.is_cut_short:
                return bytes(passed)
            done = end
        return bytes(passed + complete[done:])

    def _look_into(self, event: bytes) -> bytes:
        data = event_data(event)
        return self._learned(event, data, event_type(data))

    def _learned(self, event: bytes, data: bytes, kind: str) -> bytes:
        """Learn from one event; returns what the client gets for it."""
        if not kind and not self.terminal and data.strip() == END_MARKER:
            self.is_cut_short = True
        if self.is_cut_short:
            return b""
        if kind == RATE_LIMITS:
            return self._rewritten(event, data)
        if kind == "response.created" or kind in TERMINAL:
            self._learn(data, kind)
        return event

    def _learn(self, data: bytes, kind: str) -> None:
        decoded = decode_event(data)
        if kind in TERMINAL:
            self.terminal = kind
        if decoded is None:
            return
        if decoded.response is not None:
            self._learn_response(decoded.response)
        if kind in FAILURES:
            self.error, self.error_status = event_error(decoded), event_status(decoded)
            self.error_limit_id = event_limit_id(decoded)

    def _rewritten(self, event: bytes, data: bytes) -> bytes:
        try:
            payload = msgspec.json.decode(data)
        except UNREADABLE:
            return event
        replacement = self._on_rate_limits(payload)
        if replacement is None:
            return b""
        name = b"event: " + RATE_LIMITS.encode() + b"\n" if event.startswith(b"event:") else b""
        return name + b"data: " + msgspec.json.encode(replacement) + b"\n\n"
