"""Websockets towards the ChatGPT backend: one client socket's turns, over one upstream socket at a time.

A frame is passed on as the server-sent event that it would be over HTTP, so that everything behind this
module is the same for both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec

from codexproxy.http import HandshakeRefused, Headers, HttpClient, Timeouts, TransportFailed, WebSocket
from codexproxy.tasks import spawn
from proxy import limits
from proxy.dialects.frames import http_body, warm_up_events
from proxy.events import TERMINAL, UNREADABLE, VENDOR_PREFIX, Event, event_status, event_type
from proxy.headers import HeaderList, for_fallback, for_handshake
from proxy.sse import framed_event
from proxy.stream import EventStream, OnRateLimits, Reader
from proxy.transport import MadeReply, Reply, found_header
from proxy.upstream import Upstream

logger = logging.getLogger(__name__)

_TIMEOUTS = Timeouts(limits.CONNECT_TIMEOUT_S)
# What says that upstream knows no websocket here, whoever asks.
_NO_WEBSOCKETS = frozenset({404, 426})
# What the client is told when its own socket opens, from the last answer of upstream to one of ours.
_REMEMBERED = frozenset({b"x-models-etag", b"x-reasoning-included"})


class UpstreamSockets:
    """What all sockets of this process share. `clock` counts seconds from anywhere."""

    def __init__(
        self, client: HttpClient, base_url: str, upstream: Upstream, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._url = base_url + "/codex/responses"
        self.upstream = upstream
        self.clock = clock
        self.greeting: HeaderList = []
        self._refused_until = 0.0

    @property
    def are_refused(self) -> bool:
        return self.clock() < self._refused_until

    async def open(self, headers: HeaderList) -> WebSocket:
        """Raises HandshakeRefused and TransportFailed."""
        try:
            socket = await self._client.connect(
                self._url, headers, message_limit=limits.FRAME_LIMIT, timeouts=_TIMEOUTS
            )
        except HandshakeRefused as refused:
            if refused.status in _NO_WEBSOCKETS:
                logger.warning("upstream refuses websockets (%d); turns go over HTTP", refused.status)
                self._refused_until = self.clock() + limits.SOCKETS_REFUSED_S
            raise
        self.greeting = [pair for pair in socket.headers if pair[0] in _REMEMBERED]
        return socket


@dataclass(slots=True)
class _Open:
    """A socket of one account, and what came over it between two turns."""

    socket: WebSocket
    account_id: str
    retired_at: float
    said: list[bytes] = field(default_factory=list)
    # Its first turn is told of the upgrade's headers; later their figures are stale.
    is_fresh: bool = True
    watch: asyncio.Task[None] | None = None


class SocketTransport:
    """The upstream side of one client socket; its turns come one after another."""

    def __init__(self, sockets: UpstreamSockets) -> None:
        self._sockets = sockets
        self._open: _Open | None = None

    @property
    def holder(self) -> str | None:
        """The account whose socket knows this client's earlier responses."""
        found = self._open
        if found is None or found.socket.is_closed or self._sockets.clock() >= found.retired_at:
            return None
        return found.account_id

    @property
    def silence_s(self) -> float:
        """The same as over HTTP."""
        return self._sockets.upstream.silence_s

    async def respond(self, account_id: str, headers: Headers, body: bytes) -> Reply:
        if self._sockets.are_refused:
            return await self._over_http(headers, body)
        try:
            opened = await self._opened_for(account_id, headers)
        except HandshakeRefused as refused:
            if refused.status in _NO_WEBSOCKETS:
                return await self._over_http(headers, body)
            return MadeReply(refused.status, refused.headers, refused.body)
        try:
            await opened.socket.send(body, self.silence_s)
            first = await opened.socket.receive(self.silence_s)
        except TransportFailed:
            await self.close()
            raise
        except asyncio.CancelledError:
            await self.close()
            raise
        said, opened.said = opened.said, []
        headers = opened.socket.headers if opened.is_fresh else []
        opened.is_fresh = False
        return SocketReply(self, opened.socket, headers, [*said, first])

    def reader(self, on_rate_limits: OnRateLimits) -> Reader:
        return EventStream(on_rate_limits)

    async def close(self) -> None:
        """Leave the upstream socket; the next turn opens another."""
        opened, self._open = self._open, None
        if opened is not None:
            await _unwatched(opened)
            await opened.socket.close()

    def rest(self) -> None:
        """Between two turns somebody must listen: for pings, for the end, and for the socket's age."""
        opened = self._open
        if opened is not None and opened.watch is None:
            opened.watch = spawn(self._watch(opened), name="idle upstream socket")

    async def _opened_for(self, account_id: str, headers: Headers) -> _Open:
        if self._open is not None:
            await _unwatched(self._open)
        if self._open is None or self.holder != account_id:
            await self.close()
            socket = await self._sockets.open(for_handshake(headers))
            retired_at = self._sockets.clock() + limits.SOCKET_LIFETIME_S
            self._open = _Open(socket, account_id, retired_at)
        return self._open

    async def _over_http(self, headers: Headers, body: bytes) -> Reply:
        await self.close()
        if (events := warm_up_events(body)) is not None:
            return MadeReply(200, [], events)
        return await self._sockets.upstream.respond(for_fallback(headers), http_body(body))

    async def _watch(self, opened: _Open) -> None:
        try:
            async with asyncio.timeout(opened.retired_at - self._sockets.clock()):
                while True:
                    frame = await opened.socket.receive()
                    if event_type(frame).startswith(VENDOR_PREFIX):
                        opened.said.append(frame)
                        del opened.said[: -limits.IDLE_FRAMES]
        except (TimeoutError, TransportFailed):
            pass
        await opened.socket.close()


async def _unwatched(opened: _Open) -> None:
    watch, opened.watch = opened.watch, None
    if watch is not None:
        watch.cancel()
        await asyncio.wait({watch})


class SocketReply:
    """One turn's frames as events, up to the terminal one."""

    status = 200

    def __init__(
        self, transport: SocketTransport, socket: WebSocket, headers: HeaderList, first: list[bytes]
    ) -> None:
        self.headers = headers
        self._transport = transport
        self._socket = socket
        self._first = first
        self._is_over = False
        self._is_spoiled = False

    @property
    def has_ended(self) -> bool:
        return self._is_over

    def header(self, name: bytes) -> str | None:
        return found_header(self.headers, name)

    async def blocks(self) -> AsyncIterator[bytes]:
        for frame in self._first:
            yield self._seen(frame)
        while not self._is_over:
            yield await self._block()

    async def _block(self) -> bytes:
        """The next frame, and what came with it; large frames go alone, as each copy of them counts."""
        events = [self._seen(await self._socket.receive(self._transport.silence_s))]
        size = len(events[0])
        while not self._is_over and size < limits.BATCH_BYTES:
            waiting = await self._socket.receive_waiting()
            if waiting is None:
                break
            events.append(self._seen(waiting))
            size += len(waiting)
        return b"".join(events)

    async def read(self, limit: int) -> bytes:
        """Only refusals are read as a whole, and these come as events."""
        return b""

    async def close(self) -> None:
        """A socket in the middle of a turn, or whose sign-in is refused, is of no more use."""
        if self._is_over and not self._is_spoiled:
            self._transport.rest()
        else:
            await self._transport.close()

    def _seen(self, frame: bytes) -> bytes:
        kind = event_type(frame)
        if kind in TERMINAL:
            self._is_over = True
            self._is_spoiled = kind == "error" and _ends_socket(frame)
        return framed_event(frame)


def _ends_socket(frame: bytes) -> bool:
    try:
        status = event_status(msgspec.json.decode(frame, type=Event))
    except UNREADABLE:
        return True
    return status in (401, 403) or (status or 0) >= 500
