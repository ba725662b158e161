"""The answer to one turn over a client's websocket: the same events, each in a frame of its own."""

from __future__ import annotations

import msgspec

from codexproxy.server_frames import TEXT_FRAMES
from proxy.answer import Answer, Send
from proxy.errors import response_failed
from proxy.events import Event, decode_event, event_error, event_status
from proxy.headers import HeaderList
from proxy.outcomes import UpstreamError
from proxy.sse import each_data, event_data, framed_event, split_events
from proxy.surface import is_limit


class SocketAnswer(Answer):
    """As `Answer`, for a socket that stays open: an answer ends with its last frame.

    `sends_batches`: the server takes TEXT_FRAMES, as its scope's extensions say.
    """

    def __init__(self, send: Send, request_id: str, keep_alive: bytes, *, sends_batches: bool) -> None:
        super().__init__(send, request_id, keep_alive)
        self._sends_batches = sends_batches

    async def _stay_alive(self, headers: object) -> None:
        # Nothing is decided by a frame: an error may still follow as one.
        if not self.ended:
            await self.write(self._keep_alive)

    async def begin_stream(self, headers: HeaderList, first: bytes) -> None:
        self.status = 200
        await self.write(first)

    async def write(self, block: bytes) -> None:
        await self._send_each(_recoverable(block))

    async def end(self, block: bytes = b"") -> None:
        self._finish()
        await self._send_each(block)

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """One error frame. It has `status` and no `status_code`: Codex cannot read one with both."""
        self._finish()
        self.status = status
        frame = {
            "type": "error",
            "status": status,
            **msgspec.json.decode(body),
            "headers": {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in headers
                if name != b"content-type"
            },
        }
        await self._send_each(framed_event(msgspec.json.encode(frame)))

    async def _send_each(self, events: bytes) -> None:
        self._last_write = self._loop.time()
        # Comments and the [DONE] of some streams are no frames.
        frames = [data for data in each_data(events) if data.startswith(b"{")]
        if self._sends_batches:
            await self._send({"type": TEXT_FRAMES, "frames": frames})
            return
        for frame in frames:
            await self._send({"type": "websocket.send", "text": frame.decode()})


def _recoverable(block: bytes) -> bytes:
    """A limit or a refused sign-in after the answer has begun, as the failure of this response only.

    As an error frame it would be final for Codex, although another account may serve what it sends again.
    """
    if b'"error"' not in block:
        return block
    return b"".join(_recoverable_event(event) for event in split_events(block))


def _recoverable_event(event: bytes) -> bytes:
    decoded = decode_event(event_data(event)) if b'"error"' in event else None
    if decoded is None or decoded.type != "error" or not _is_final(decoded):
        return event
    return framed_event(response_failed(event_error(decoded), "", 0))


def _is_final(event: Event) -> bool:
    error = UpstreamError(event_status(event), event_error(event))
    return is_limit(error) or error.status == 401
