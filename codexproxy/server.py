"""Daphne, with what it lacks for long streams: back-pressure, bodies judged at their headers, and a drain."""

from __future__ import annotations

# Daphne's server installs the asyncio reactor, so it goes first.
from daphne.server import Server, twisted_loop  # isort: skip

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from daphne.http_protocol import WebRequest
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner

from codexproxy.server_bodies import BodyBudget, Heading, Refusal, openai_error
from codexproxy.server_departures import DEPARTURE, RequestInbox
from codexproxy.server_frames import MESSAGE_DONE, TEXT_FRAMES
from codexproxy.server_requests import ProxyChannel, ProxyHTTPFactory
from codexproxy.server_scope import CLIENT_PATHS, UNDERSCORED
from codexproxy.server_transport import PromptTransport, reactor
from codexproxy.server_websockets import Inbox, ProxyWebSocket, ProxyWebSocketFactory
from codexproxy.tasks import spawn

logger = logging.getLogger(__name__)

WEBSOCKET_MESSAGE_LIMIT = 64 * 1024 * 1024
WEBSOCKET_HANDSHAKE_S = 10
# A larger read than any body: it comes in one message.
_WHOLE_BODY = 1 << 40
_DRAIN_POLL_S = 0.05
# New objects, less those that are gone.
_COLLECTED_FROM = 20_000


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits in bytes and seconds, and the questions that are asked before a body is read.

    `body_limit` answers for a path, on the wire; None means `default_body_limit`. `admit` may refuse a
    request with a body at its headers. `refusal_body` words refusals: (status, path, message).
    """

    body_limit: Callable[[str], int | None]
    bodies_in_flight_limit: int
    default_body_limit: int = 32 * 1024 * 1024
    admit: Callable[[Heading], Refusal | None] | None = None
    # It is asked for larger bodies than this, and for those of unknown length.
    admit_unseen: int = 0
    refusal_body: Callable[[int, str, str], bytes] = openai_error
    # Bodies to paths for which `is_apart` is true have room of their own, and take none of the others'.
    is_apart: Callable[[str], bool] = lambda path: False
    bodies_apart_limit: int = 0
    busy_retry_after_s: int = 5
    # A client that sends nothing for so long, within a request or between two, is disconnected.
    request_stall_s: float = 60.0
    # A request that is still coming is looked at so often, and must have brought this much for each second.
    pace_s: float = 30.0
    least_bytes_per_s: int = 2048
    # So is one that accepts no byte of what is written to it.
    write_stall_s: float = 120.0
    drain_s: float = 30.0
    # A job that runs, then the refresh of a token that is on its way: both have limits of their own.
    shutdown_s: float = 40.0
    # Long enough for an application to write down that its client has left.
    application_close_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Lifespan:
    """What is called when; `begin_drain` takes the process out of load balancing, and `shutdown` says
    whether everything could be written.
    """

    startup: Callable[[], Awaitable[None]]
    shutdown: Callable[[], Coroutine[Any, Any, bool]]
    begin_drain: Callable[[], None]
    ready: Callable[[], None]


class ProxyServer(Server):  # type: ignore[misc]
    """Belongs to Daphne's event loop; one in each process."""

    def __init__(self, application: Any, options: ServerOptions) -> None:
        super().__init__(
            application,
            endpoints=["unused: the socket is handed over"],
            signal_handlers=False,
            request_buffer_size=_WHOLE_BODY,
            websocket_timeout=-1,
            websocket_handshake_timeout=WEBSOCKET_HANDSHAKE_S,
            websocket_max_message_size=WEBSOCKET_MESSAGE_LIMIT,
            websocket_max_frame_size=WEBSOCKET_MESSAGE_LIMIT,
            application_close_timeout=options.application_close_s,
            server_name="",
        )
        self.options = options
        self.budget = BodyBudget(options.bodies_in_flight_limit)
        self.budget_apart = BodyBudget(options.bodies_apart_limit)
        self.is_draining = False
        self.connections: dict[Any, dict[str, Any]] = {}
        self.channels: set[ProxyChannel] = set()
        self.sockets: set[ProxyWebSocket] = set()
        self._port: Any = None

    def listen(self, listening: socket.socket) -> None:
        """Accept on this socket, which is the server's from now on."""
        self.http_factory = ProxyHTTPFactory(self)
        self.ws_factory = ProxyWebSocketFactory(self)
        listening.setblocking(False)
        self._port = reactor.adoptStreamPort(listening.fileno(), listening.family, self.http_factory)
        self._port.transport = partial(PromptTransport, write_stall_s=self.options.write_stall_s)
        # Twisted has a descriptor of its own. While any is open, the kernel goes on accepting.
        listening.close()
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """What Daphne calls for upgrades; with inboxes that tell more and extensions that it lacks."""
        if scope["path"].startswith(CLIENT_PATHS):
            scope["headers"] = [*scope["headers"], *_underscored(protocol)]
        scope["asgi"] = {"version": "3.0"}
        if not isinstance(protocol, ProxyWebSocket):
            return self.call(protocol, scope)
        inbox = Inbox(protocol)
        scope["extensions"] = {"websocket.http.response": {}, TEXT_FRAMES: {}, MESSAGE_DONE: {}}
        self._run(protocol, self.application(scope=scope, receive=inbox.get, send=protocol.reply))
        return inbox

    def call(self, request: Any, scope: dict[str, Any]) -> RequestInbox:
        """The application, for one HTTP request; what the request brings goes into the inbox."""
        inbox = RequestInbox()
        scope["extensions"] = {DEPARTURE: inbox.call_at_departure}
        send = partial(self.handle_reply, request)
        self._run(request, self.application(scope=scope, receive=inbox.get, send=send))
        return inbox

    def _run(self, protocol: Any, application: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(application)
        self.connections[protocol]["application_instance"] = task
        task.add_done_callback(partial(self._application_ended, protocol))

    def _application_ended(self, protocol: Any, task: asyncio.Future[None]) -> None:
        # Daphne looks once a second at all that have ended since, which adds up with many short requests.
        protocol.application_ended()
        details = self.connections.get(protocol, {})
        # Where its look came between the end and this call, it has logged a fault.
        is_news = details.pop("application_instance", None) is not None
        if is_news and not task.cancelled() and (fault := task.exception()) is not None:
            logger.error("Exception inside application: %s", fault, exc_info=fault)
        self._forget(protocol, details)

    def protocol_disconnected(self, protocol: Any) -> None:
        # Daphne's fails for one that it has already forgotten.
        if (details := self.connections.get(protocol)) is not None:
            super().protocol_disconnected(protocol)
            self._forget(protocol, details)

    def _forget(self, protocol: Any, details: dict[str, Any]) -> None:
        """What is over on both sides; for the rest Daphne has its time limits."""
        if "disconnected" in details and "application_instance" not in details:
            self.connections.pop(protocol, None)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Daphne's, without a second look at every chunk; it waits until the client can take more."""
        details = self.connections.get(protocol)
        if details is None or "disconnected" in details:
            # An application that has not noticed yet must not keep the loop to itself.
            await asyncio.sleep(0)
            return
        protocol.handle_reply(message)
        await protocol.writable()

    async def drain(self, timeout_s: float) -> None:
        """Accept nobody new; wait until every answer is on its way, up to the limit, then end the rest."""
        self.is_draining = True
        if self._port is not None:
            self._port.stopListening()
        for channel in list(self.channels):
            channel.end_after_answer()
        deadline = time.monotonic() + timeout_s
        while self._is_busy() and time.monotonic() < deadline:
            await asyncio.sleep(_DRAIN_POLL_S)
        leftover = self._running()
        for task in leftover:
            task.cancel()
        if leftover:
            logger.warning("%d requests did not end within %.0f s", len(leftover), timeout_s)
            await asyncio.wait(leftover, timeout=5)

    def _is_busy(self) -> bool:
        if self._running() or any(channel.is_busy for channel in self.channels):
            return True
        return any(socket.has_unsent_bytes for socket in self.sockets)

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
    return [(name, value) for name, value in pairs if name in UNDERSCORED]


class _Run:
    """One run of a server, from start-up to the end of its drain."""

    def __init__(self, server: ProxyServer, listening: socket.socket, lifespan: Lifespan) -> None:
        self.server = server
        self.starting: asyncio.Task[None] | None = None
        self.lost_something = False
        self._listening = listening
        self._lifespan = lifespan
        self._ending: asyncio.Task[None] | None = None
        self._is_stopped = False

    def begin(self) -> None:
        self.starting = spawn(self._start(), name="start")
        self.starting.add_done_callback(self._started)

    def end(self) -> None:
        """The first signal drains; the second ends at once."""
        if self._ending is None:
            self._ending = spawn(self._end(), name="drain")
        else:
            self._stop()

    async def _start(self) -> None:
        await self._lifespan.startup()
        _settle_garbage()
        if self._ending is None:
            self.server.listen(self._listening)
            self._lifespan.ready()

    def _started(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._stop()

    async def _end(self) -> None:
        options = self.server.options
        try:
            if self.starting is not None:
                await asyncio.wait({self.starting}, timeout=options.drain_s)
            self._lifespan.begin_drain()
            await self.server.drain(options.drain_s)
            await self._shut_down(options.shutdown_s)
        finally:
            self._stop()

    async def _shut_down(self, timeout_s: float) -> None:
        self.lost_something = True
        ending = spawn(self._lifespan.shutdown(), name="shutdown")
        # Not cancelled and waited for: it may wait for a thread that waits for the database.
        await asyncio.wait({ending}, timeout=timeout_s)
        if not ending.done():
            logger.error("what was learned last could not be written within %.0f s", timeout_s)
        elif not ending.cancelled() and ending.exception() is None:
            self.lost_something = not ending.result()

    def _stop(self) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            reactor.stop()


def _settle_garbage() -> None:
    """What start-up made stays to the end: the collector need not look at it again and again.

    A request allocates some thousand objects that reference counting frees, so that the default threshold
    of 700 has the collector run several times within each, for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_FROM)


def _failures_only(event: LogEvent) -> None:
    """Of Twisted's own log what nobody expected; the rest we log ourselves."""
    failure = event.get("log_failure")
    if failure is not None:
        logger.error("Twisted: %s", failure.getTraceback())


def serve(application: Any, listening: socket.socket, options: ServerOptions, lifespan: Lifespan) -> bool:
    """Serve on a bound socket until SIGTERM or SIGINT, then drain. Raises what start-up raised.

    Returns whether everything could be written. If not, threads may be left that wait for the database.
    """
    asyncio.set_event_loop(twisted_loop)
    globalLogBeginner.beginLoggingTo(
        [cast(ILogObserver, _failures_only)], redirectStandardIO=False, discardBuffer=True
    )
    run = _Run(ProxyServer(application, options), listening, lifespan)
    for number in (signal.SIGTERM, signal.SIGINT):
        twisted_loop.add_signal_handler(number, run.end)
    twisted_loop.call_soon(run.begin)
    reactor.run(installSignalHandlers=False)
    if run.starting is not None and run.starting.done():
        run.starting.result()
    return not run.lost_something
