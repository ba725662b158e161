"""The answer to one client: begun once, kept alive through silence, ended once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from codexproxy.tasks import spawn
from proxy import limits
from proxy.headers import HeaderList

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_EVENT_STREAM: HeaderList = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


class Answer:
    """Writes to the client. One timer per answer keeps a silent stream alive; nothing is timed per event."""

    def __init__(self, send: Send, request_id: str, keep_alive: bytes) -> None:
        self._send = send
        self._request_id = (b"x-request-id", request_id.encode("latin-1", "replace"))
        self._keep_alive = keep_alive
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._last_write = self._loop.time()
        # What every answer to this request carries, whichever way it ends.
        self.own_headers: HeaderList = []
        self.status: int | None = None
        self.ended = False

    @property
    def begun(self) -> bool:
        return self.status is not None

    def keep_alive_from_now(self, headers: Callable[[], HeaderList]) -> None:
        """After a silence the 200 goes out with `headers`, then keep-alives, until the answer ends."""
        self._last_write = self._loop.time()
        self._arm(headers, limits.UNJUDGED_S)

    def _arm(self, headers: Callable[[], HeaderList], delay_s: float) -> None:
        self._timer = self._loop.call_later(delay_s, self._tick, headers)

    def _tick(self, headers: Callable[[], HeaderList]) -> None:
        silent_s = self._loop.time() - self._last_write
        if self.ended:
            return
        if silent_s + 0.01 < limits.KEEP_ALIVE_S:
            self._arm(headers, limits.KEEP_ALIVE_S - silent_s)
            return
        spawn(self._stay_alive(headers), name="keep-alive")
        self._arm(headers, limits.KEEP_ALIVE_S)

    async def _stay_alive(self, headers: Callable[[], HeaderList]) -> None:
        if not self.begun:
            await self.begin_stream(headers(), b"")
        if not self.ended:
            await self.write(self._keep_alive)

    async def begin_stream(self, headers: HeaderList, first: bytes) -> None:
        """The 200 of an event stream. Daphne holds headers back until a body chunk, be it an empty one."""
        await self._start(200, [*_EVENT_STREAM, *self._identified(headers)])
        await self.write(first)

    async def write(self, block: bytes) -> None:
        self._last_write = self._loop.time()
        await self._send({"type": "http.response.body", "body": block, "more_body": True})

    async def end(self, block: bytes = b"") -> None:
        self._finish()
        await self._send({"type": "http.response.body", "body": block, "more_body": False})

    async def refuse(self, status: int, headers: HeaderList, events: bytes) -> None:
        """Upstream's own events say why, as they came; as an answer of its own it would have `status`."""
        if self.begun:
            await self.write(events)
        else:
            await self.begin_stream(headers, events)
        await self.end()

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """A complete answer."""
        self._finish()
        await self._start(status, [*self._identified(headers), (b"content-length", b"%d" % len(body))])
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def stop(self) -> None:
        """The client is gone, or the answer is complete: no timer stays behind."""
        self._finish()

    async def _start(self, status: int, headers: HeaderList) -> None:
        # Before the await: whoever comes next must see that the answer has begun.
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _identified(self, headers: HeaderList) -> HeaderList:
        if any(name == b"x-request-id" for name, _ in headers):
            return [*headers, *self.own_headers]
        return [*headers, *self.own_headers, self._request_id]

    def _finish(self) -> None:
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
