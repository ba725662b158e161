"""Pure: answers that go out whole, so that until their last byte has come another account may serve."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.assembly import ResponseAssembly
from proxy.dialects.compact import folded
from proxy.events import UNREADABLE, ResponseHead
from proxy.sse import EventTooLarge
from proxy.stream import EventStream, OnRateLimits, Reader


class WholeBody(Reader):
    """One JSON body, passed on as it came. `holds` names a field without which it is no answer."""

    answers = range(200, 300)
    unjudged = "Upstream's answer is not what was asked for."

    def __init__(self, limit: int, *, holds: str = "") -> None:
        super().__init__()
        self._limit = limit
        self._holds = holds
        self._parts = bytearray()

    def feed(self, block: bytes) -> bytes:
        self._parts += block
        if len(self._parts) > self._limit:
            raise EventTooLarge(f"The answer is larger than {self._limit} bytes.")
        return b""

    def end(self) -> bytes:
        body = bytes(self._parts)
        if not self._is_answer(body):
            return b""
        self.judged, self.terminal = True, "response.completed"
        return body

    def _is_answer(self, body: bytes) -> bool:
        if not body and not self._holds:
            return True
        try:
            payload = msgspec.json.decode(body)
        except UNREADABLE:
            return False
        if not isinstance(payload, dict):
            return not self._holds
        self._look_into(payload)
        return not self._holds or self._holds in payload

    def _look_into(self, payload: dict[str, Any]) -> None:
        try:
            self._learn_response(msgspec.convert(payload, ResponseHead))
        except msgspec.ValidationError:
            return


class FoldedCompaction(Reader):
    """The events of a turn that ends with a compaction trigger, made into the compact endpoint's answer."""

    unjudged = "Upstream ended the stream before the compaction was complete."

    def __init__(self, on_rate_limits: OnRateLimits) -> None:
        super().__init__()
        self._stream = EventStream(on_rate_limits)
        self._assembly = ResponseAssembly()

    def feed(self, block: bytes) -> bytes:
        if self.judged:
            return b""
        stream = self._stream
        self._assembly.feed(stream.feed(block))
        self.is_cut_short = stream.is_cut_short
        if stream.failure is not None or stream.terminal in ("response.failed", "error"):
            self.failure, self.error_status = stream.failure or stream.error, stream.error_status
            self.error_limit_id = stream.error_limit_id
        elif stream.terminal:
            return self._folded()
        return b""

    def _folded(self) -> bytes:
        stream = self._stream
        answer = folded(self._assembly.response() or {})
        if answer is None:
            message = "Upstream answered without a compaction."
            self.failure = {"type": "server_error", "code": "upstream_error", "message": message}
            return b""
        self.response_id, self.model = stream.response_id, stream.model
        self.service_tier, self.usage = stream.service_tier, stream.usage
        self.judged, self.terminal = True, stream.terminal
        return msgspec.json.encode(answer)
