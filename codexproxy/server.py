"""Daphne, with what it lacks for long streams: back-pressure, bodies judged at their headers, and a drain.

Twisted is pinned because two of its private names are used here: `HTTPChannel._path` (the request line,
while the body is still to come) and the asyncio reactor's `_readOrWrite`.
"""

from __future__ import annotations

# Daphne's server installs the asyncio reactor, so it goes first.
from daphne.server import Server, twisted_loop  # isort: skip

import asyncio
import io
import json
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketFactory
from twisted.internet import reactor as _reactor
from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from twisted.web import http
from zope.interface import implementer

from codexproxy.tasks import spawn

logger = logging.getLogger(__name__)
reactor: Any = _reactor

# Codex's headers are long; Twisted's own limit is 16 KiB for all of them.
HEADERS_LIMIT = 64 * 1024
WEBSOCKET_MESSAGE_LIMIT = 64 * 1024 * 1024
# A larger read than any body: it comes in one message.
_WHOLE_BODY = 1 << 40
# How long a refused client may go on sending, so that it gets to read the refusal.
_LINGER_S = 2.0
# Older Codex clients name their session with an underscore, which Daphne takes for an attack.
_UNDERSCORE_HEADERS = frozenset({b"session_id", b"conversation_id"})
_CLIENT_PATHS = ("/backend-api", "/v1")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits in bytes and seconds."""

    body_limit: Callable[[str], int]
    bodies_in_flight_limit: int
    busy_retry_after_s: int = 5
    write_stall_s: float = 120.0
    drain_s: float = 30.0
    # Long enough for an application to write down that its client has left.
    application_close_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Lifespan:
    """What is called when; `begin_drain` takes the process out of load balancing."""

    startup: Callable[[], Awaitable[None]]
    shutdown: Callable[[], Awaitable[None]]
    begin_drain: Callable[[], None]
    ready: Callable[[], None]


@dataclass(slots=True)
class BodyBudget:
    """The bytes of all bodies in flight in this process."""

    limit: int
    used: int = 0

    def reserve(self, size: int) -> bool:
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        self.used -= size


@implementer(IPushProducer)
class WriteGate:
    """Closed while a client reads more slowly than it is written to; one that stalls is dropped."""

    def __init__(self, stall_s: float, drop: Callable[[], None]) -> None:
        self._stall_s = stall_s
        self._drop = drop
        self._opened: asyncio.Event | None = None
        self._stalled: Any = None

    @property
    def is_closed(self) -> bool:
        return self._opened is not None

    async def wait(self) -> None:
        if self._opened is not None:
            await self._opened.wait()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's names
        if self._opened is None:
            self._opened = asyncio.Event()
            self._stalled = reactor.callLater(self._stall_s, self._drop)

    def resumeProducing(self) -> None:  # noqa: N802
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()
        self._stalled = None
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    def stopProducing(self) -> None:  # noqa: N802
        self.resumeProducing()


class ProxyRequest(WebRequest):  # type: ignore[misc]
    """One HTTP request: its body is judged at the headers and kept in memory."""

    server: ProxyServer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse every POST's content type with the e-mail package.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self._gate = WriteGate(self.server.options.write_stall_s, self._abort)
        self._reserved = 0
        self._refused = False

    # --- the body -----------------------------------------------------------------------------

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        self.content = io.BytesIO()
        self._body_limit = self.server.options.body_limit(self._announced_path())
        self._admit(length or 0, length or 0)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self._refused:
            return
        size = self.content.tell() + len(data)
        if size > self._reserved and not self._admit(size, size - self._reserved):
            return
        self.content.write(data)

    def _announced_path(self) -> str:
        raw: bytes = self.channel._path
        return raw.split(b"?", 1)[0].decode("latin-1")

    def _admit(self, size: int, more: int) -> bool:
        if size > self._body_limit:
            mebibytes = self._body_limit // (1024 * 1024)
            self._refuse(
                413, f"The request body exceeds the maximum of {mebibytes} MiB.", "payload_too_large"
            )
        elif not self.server.budget.reserve(more):
            self._refuse(429, "The server is busy with other large requests.", "server_busy")
        else:
            self._reserved += more
        return not self._refused

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer before the body is read, and let the client read the answer."""
        self._refused = True
        self._release()
        self.content = io.BytesIO()
        self.requestHeaders.removeHeader(b"expect")
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        body = json.dumps({"error": {"message": message, "type": kind, "code": code}}).encode()
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        if status == 429:
            lines.append(f"retry-after: {self.server.options.busy_retry_after_s}")
        transport = self.channel.transport
        transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        transport.loseWriteConnection()
        reactor.callLater(_LINGER_S, transport.abortConnection)

    def process(self) -> None:
        if self._refused:
            return
        super().process()
        # The application has its body: a stream of hours must not keep a second copy of it.
        self.content = io.BytesIO()

    def _release(self) -> None:
        self.server.budget.release(self._reserved)
        self._reserved = 0

    # --- the answer ---------------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            if self.server.is_draining and self.channel is not None:
                self.channel.persistent = 0
                self.responseHeaders.setRawHeaders(b"connection", [b"close"])
            if not self.finished and self.channel is not None:
                self.registerProducer(self._gate, True)
        elif not message.get("more_body", False) and self.producer is not None:
            self.unregisterProducer()
        super().handle_reply(message)

    async def writable(self) -> None:
        if self._gate.is_closed:
            await self._gate.wait()

    def finish(self) -> None:
        self._release()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._release()
        self._gate.stopProducing()
        super().connectionLost(reason)

    def _abort(self) -> None:
        logger.warning("a client that stopped reading is disconnected")
        if self.channel is not None:
            self.channel.transport.abortConnection()


class ProxyHTTPFactory(HTTPFactory):  # type: ignore[misc]
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = ProxyRequest
        return protocol


class PromptTransport(tcp.Server):
    """Writes at the end of the loop's turn; asks for writability only when the socket is full.

    Twisted asks epoll before each write and takes the request back afterwards, although the socket of
    a stream is nearly always writable.
    """

    _is_flush_due = False
    _waits_for_socket = False

    def startWriting(self) -> None:  # noqa: N802
        if not self._is_flush_due and not self._waits_for_socket:
            self._is_flush_due = True
            twisted_loop.call_soon(self._flush)

    def stopWriting(self) -> None:  # noqa: N802
        if self._waits_for_socket:
            self._waits_for_socket = False
            super().stopWriting()  # type: ignore[no-untyped-call]

    def _flush(self) -> None:
        self._is_flush_due = False
        if not self.connected or not hasattr(self, "socket"):
            return
        # The reactor's own way to write: it also closes the connection when that is due.
        reactor._readOrWrite(self, False)
        if self.connected and hasattr(self, "socket") and (self.dataBuffer or self._tempDataBuffer):
            self._waits_for_socket = True
            super().startWriting()  # type: ignore[no-untyped-call]


class ProxyServer(Server):  # type: ignore[misc]
    """Belongs to Daphne's event loop; one in each process."""

    def __init__(self, application: Any, options: ServerOptions) -> None:
        super().__init__(
            application,
            endpoints=["unused: the socket is handed over"],
            signal_handlers=False,
            request_buffer_size=_WHOLE_BODY,
            websocket_timeout=-1,
            websocket_max_message_size=WEBSOCKET_MESSAGE_LIMIT,
            websocket_max_frame_size=WEBSOCKET_MESSAGE_LIMIT,
            application_close_timeout=options.application_close_s,
            server_name="",
        )
        self.options = options
        self.budget = BodyBudget(options.bodies_in_flight_limit)
        self.is_draining = False
        self.connections: dict[Any, dict[str, Any]] = {}
        self._port: Any = None

    def listen(self, listening: socket.socket) -> None:
        http.HTTPChannel.totalHeadersSize = HEADERS_LIMIT
        self.http_factory = ProxyHTTPFactory(self)
        self.ws_factory = WebSocketFactory(self, server=self.server_name)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        tcp.Port.transport = PromptTransport
        listening.setblocking(False)
        self._port = reactor.adoptStreamPort(listening.fileno(), listening.family, self.http_factory)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["path"].startswith(_CLIENT_PATHS):
            scope["headers"] = [*scope["headers"], *_underscored(protocol)]
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Daphne's, without a second look at every chunk, and not before the client can take more."""
        details = self.connections.get(protocol)
        if details is None or "disconnected" in details:
            return
        if message["type"] != "http.response.body":
            await super().handle_reply(protocol, message)
            return
        protocol.handle_reply(message)
        await protocol.writable()

    async def drain(self) -> None:
        """Accept nobody new; wait for what runs, up to the limit, and then end it."""
        self.is_draining = True
        if self._port is not None:
            self._port.stopListening()
        deadline = time.monotonic() + self.options.drain_s
        while (running := self._running()) and time.monotonic() < deadline:
            await asyncio.wait(running, timeout=0.5)
        leftover = self._running()
        for task in leftover:
            task.cancel()
        if leftover:
            logger.warning("%d requests did not end within %.0f s", len(leftover), self.options.drain_s)
            await asyncio.wait(leftover, timeout=5)

    def _running(self) -> list[asyncio.Future[Any]]:
        found = (details.get("application_instance") for details in self.connections.values())
        return [task for task in found if task is not None and not task.done()]


def _underscored(protocol: Any) -> list[tuple[bytes, bytes]]:
    """The headers with an underscore that are known to be harmless, which Daphne has left out."""
    if isinstance(protocol, WebRequest):
        raw = protocol.requestHeaders.getAllRawHeaders()
        pairs = [(name.lower(), value) for name, values in raw for value in values]
    else:
        given: dict[str, str] = getattr(protocol, "http_headers", {})
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
    return [(name, value) for name, value in pairs if name in _UNDERSCORE_HEADERS]


@dataclass(slots=True)
class _Run:
    """One run of a server, from start-up to the end of its drain."""

    server: ProxyServer
    listening: socket.socket
    lifespan: Lifespan
    failure: BaseException | None = None
    ending: asyncio.Task[None] | None = None
    signals: int = field(default=0)

    async def start(self) -> None:
        try:
            await self.lifespan.startup()
        except BaseException as failure:
            self.failure = failure
            reactor.stop()
            raise
        self.server.listen(self.listening)
        self.lifespan.ready()

    def end(self) -> None:
        """The first signal drains; the second ends at once."""
        self.signals += 1
        if self.signals == 1:
            self.ending = spawn(self._end(), name="drain")
        else:
            reactor.stop()

    async def _end(self) -> None:
        try:
            self.lifespan.begin_drain()
            await self.server.drain()
            await self.lifespan.shutdown()
            # What was written last is still on its way to the sockets.
            await asyncio.sleep(0.05)
        finally:
            reactor.stop()


def _ignored(event: LogEvent) -> None:
    """Twisted's own log: what matters of it, we log ourselves."""


def serve(application: Any, listening: socket.socket, options: ServerOptions, lifespan: Lifespan) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT, then drain. Raises what start-up raised."""
    asyncio.set_event_loop(twisted_loop)
    globalLogBeginner.beginLoggingTo(
        [cast(ILogObserver, _ignored)], redirectStandardIO=False, discardBuffer=True
    )
    run = _Run(ProxyServer(application, options), listening, lifespan)
    for number in (signal.SIGTERM, signal.SIGINT):
        twisted_loop.add_signal_handler(number, run.end)
    twisted_loop.call_soon(lambda: spawn(run.start(), name="start"))
    reactor.run(installSignalHandlers=False)
    if run.failure is not None:
        raise run.failure
