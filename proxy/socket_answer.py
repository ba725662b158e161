"""The answer to one turn over a client's websocket: the same events, each in a frame of its own."""

from __future__ import annotations

import msgspec

from codexproxy.server_frames import TEXT_FRAMES
from proxy.answer import Answer, Send
from proxy.error_frames import error_frame, errors_as_failures, errors_as_refusals
from proxy.events import error_object
from proxy.headers import HeaderList
from proxy.sse import each_data, framed_event


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
        await self._send_each(errors_as_failures(block))

    async def end(self, block: bytes = b"") -> None:
        self._finish()
        await self._send_each(block)

    async def refuse(self, status: int, headers: HeaderList, events: bytes) -> None:
        self._finish()
        self.status = status
        await self._send_each(errors_as_refusals(events, status))

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """One error frame, whatever form the error of `body` has."""
        self._finish()
        self.status = status
        told = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers
            if name != b"content-type"
        }
        frame = error_frame(status, error_object(msgspec.json.decode(body)), told)
        await self._send_each(framed_event(frame))

    async def _send_each(self, events: bytes) -> None:
        self._last_write = self._loop.time()
        # Comments and the [DONE] of some streams are no frames.
        frames = [data for data in each_data(events) if data.startswith(b"{")]
        if self._sends_batches:
            await self._send({"type": TEXT_FRAMES, "frames": frames})
            return
        for frame in frames:
            await self._send({"type": "websocket.send", "text": frame.decode()})
