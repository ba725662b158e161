"""HTTP under the server: one connection, and one request whose body is judged at its headers.

Twisted is pinned because private names of it are used here and in the transport: `HTTPChannel._path` and
`_command` (the request line, while the body is still to come), and the asyncio reactor's `_readOrWrite`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from codexproxy.request_id import incoming_request_id
from codexproxy.server_bodies import BodyBudget, Heading, Refusal, answer_and_close
from codexproxy.server_scope import InvalidHeading, http_scope
from codexproxy.server_transport import PromptTransport, WriteGate, reactor

# After the transport, which brings the right reactor.
from daphne.http_protocol import HTTPFactory, WebRequest  # isort: skip
from twisted.web import http  # isort: skip

if TYPE_CHECKING:
    from codexproxy.server import ProxyServer

logger = logging.getLogger(__name__)

# Codex's headers are long; Twisted's own limit is 16 KiB, for one line as for all of them.
HEADERS_LIMIT = 64 * 1024
# How long a refused client may go on sending, so that it gets to read the refusal.
LINGER_S = 2.0
_REQUEST_ID = b"x-request-id"


def refuse_on(transport: Any, refusal: Refusal, body: bytes) -> None:
    """Answer, and close when the client has had time to read it."""
    transport.write(answer_and_close(refusal, body))
    transport.loseWriteConnection()
    reactor.callLater(LINGER_S, transport.abortConnection)


def identified(refusal: Refusal, given: str | None = None) -> Refusal:
    """With the request's id, as every other answer has it; `given` is the client's own."""
    if any(name == _REQUEST_ID for name, _ in refusal.headers):
        return refusal
    own = (_REQUEST_ID, incoming_request_id(given).encode("latin-1", "replace"))
    return replace(refusal, headers=(*refusal.headers, own))


class ProxyRequest(WebRequest):  # type: ignore[misc]
    """One HTTP request: its body is judged at the headers and kept in memory."""

    server: ProxyServer
    _budget: BodyBudget
    _response_started: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse every POST's content type with the e-mail package.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self._gate = WriteGate()
        self._reserved = 0
        self._refused = False
        self._announced_path = ""

    # --- the body -----------------------------------------------------------------------------

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's names
        options = self.server.options
        raw: bytes = self.channel._path
        self._announced_path = raw.split(b"?", 1)[0].decode("latin-1")
        # Twisted's would be a temporary file for large bodies and those of unknown length.
        self.content = io.BytesIO()
        limit = options.body_limit(self._announced_path)
        self._body_limit = options.default_body_limit if limit is None else limit
        apart = options.is_apart(self._announced_path)
        self._budget = self.server.budget_apart if apart else self.server.budget
        refusal = None
        if options.admit is not None and (length is None or length > options.admit_unseen):
            refusal = options.admit(self._heading())
        if refusal is not None:
            self.refuse(refusal)
        else:
            self._take(length or 0, length or 0)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self._refused:
            return
        size = self.content.tell() + len(data)
        if size > self._reserved and not self._take(size, size - self._reserved):
            return
        self.content.write(data)

    def _heading(self) -> Heading:
        headers = tuple(
            (name.lower(), value)
            for name, values in self.requestHeaders.getAllRawHeaders()
            for value in values
        )
        method: bytes = self.channel._command
        peer = str(getattr(self.channel.getPeer(), "host", ""))
        return Heading(method.decode("latin-1"), self._announced_path, peer, headers)

    def _take(self, size: int, more: int) -> bool:
        """Make room for `more` bytes of a body that is then `size` long, or refuse it."""
        if size > self._body_limit:
            mebibytes = self._body_limit / (1024 * 1024)
            self.refuse(Refusal(413, f"The request body exceeds the maximum of {mebibytes:g} MiB."))
        elif not self._budget.reserve(more):
            wait = (b"retry-after", b"%d" % self.server.options.busy_retry_after_s)
            self.refuse(Refusal(429, "The server is busy with other large requests.", (wait,)))
        else:
            self._reserved += more
        return not self._refused

    def refuse(self, refusal: Refusal) -> None:
        """Answer before the body is read, and let the client read the answer."""
        self._refused = True
        self._release()
        self.content = io.BytesIO()
        # Nobody is asked to continue.
        self.requestHeaders.removeHeader(b"expect")
        logger.info("refused %r with %d: %s", self._announced_path, refusal.status, refusal.message)
        body = refusal.body
        if body is None:
            body = self.server.options.refusal_body(refusal.status, self._announced_path, refusal.message)
        refuse_on(self.channel.transport, identified(refusal, self._given_id()), body)

    def _given_id(self) -> str | None:
        named = self.requestHeaders.getRawHeaders
        found: list[bytes] = named(_REQUEST_ID) or named(b"request-id") or []
        return found[-1].decode("latin-1") if found else None

    def process(self) -> None:
        if self._refused:
            return
        if self.requestHeaders.hasHeader(b"upgrade"):
            # SECURITY: Daphne would take a client's word for where this is mounted; see codexproxy/asgi.py.
            self.requestHeaders.removeHeader(b"daphne-root-path")
            super().process()
        else:
            self._call_application()
        # The application has its body: a stream of hours must not keep a second copy of it.
        self.content = io.BytesIO()
        if self.transport is None:
            # It became a websocket, which has the connection now: nobody will say that this has ended.
            self._release()
            self.server.channels.discard(self.channel)

    def _call_application(self) -> None:
        try:
            scope = http_scope(self)
        except InvalidHeading as error:
            self.basic_error(400, b"Bad Request", str(error))
            return
        self.application_queue = self.server.call(self, scope)
        body = self.content.getvalue()
        self.application_queue.put_nowait({"type": "http.request", "body": body, "more_body": False})

    def _release(self) -> None:
        if self._reserved:
            self._budget.release(self._reserved)
            self._reserved = 0

    # --- the answer ---------------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Daphne's, without its access log. Raises ValueError for messages in a wrong order."""
        if self.finished or self.channel is None:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif message["type"] != "http.response.body" or not self._response_started:
            raise ValueError(f"{message['type']} is not what comes next")
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._response_started:
            raise ValueError("the response has already been started")
        self._response_started = True
        self.setResponseCode(status)
        for name, value in headers:
            self.responseHeaders.addRawHeader(name, value)
        if self.server.is_draining:
            self.channel.persistent = 0
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        if self.producer is None:
            self.registerProducer(self._gate, True)

    def _go_on(self, block: bytes, *, more: bool) -> None:
        if not more and self.producer is not None:
            self.unregisterProducer()
        self.write(block)
        if not more:
            self.finish()

    async def writable(self) -> None:
        if self._gate.is_closed:
            await self._gate.wait()

    def application_ended(self) -> None:
        """Every client is told: by an error while there is time for one, else by a broken connection."""
        if self.finished or self.channel is None:
            return
        if self._response_started:
            self.channel.transport.abortConnection()
        else:
            self.basic_error(500, b"Internal Server Error", "Internal server error")

    def handle_exception(self, exception: BaseException) -> None:
        # Daphne's would start a second response and thereby end its own clean-up loop.
        self.application_ended()

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        payload = self.server.options.refusal_body(status, self._announced_path, body)
        own = identified(Refusal(status, body), self._given_id()).headers
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload)), *own]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": payload})

    def finish(self) -> None:
        self._release()
        if self.application_queue is not None:
            self.send_disconnect()
        # Past Daphne's, which would tell the application once more.
        super(WebRequest, self).finish()
        self.server.protocol_disconnected(self)
        # An application that wrote faster than its client reads is not to wait for the rest.
        self._gate.stopProducing()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._release()
        self._gate.stopProducing()
        super().connectionLost(reason)


# Twisted declares too little of it for subclasses.
_HTTPChannel: Any = http.HTTPChannel


class ProxyChannel(_HTTPChannel):  # type: ignore[misc]
    """One connection, with one request at a time."""

    totalHeadersSize = HEADERS_LIMIT  # noqa: N815 - Twisted's names
    MAX_LENGTH = HEADERS_LIMIT
    factory: ProxyHTTPFactory
    transport: PromptTransport
    timeOut: float | None  # noqa: N815
    # While a request is still coming: when its pace is looked at next, and what came since the last look.
    _pace: Any = None
    _received = 0
    # While nothing is asked: since when, and the timer that looks.
    _idle_since = 0.0
    _idle: Any = None

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        self.factory.server.channels.add(self)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._has_come()
        self.factory.server.channels.discard(self)
        super().connectionLost(reason)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def isSecure(self) -> bool:  # noqa: N802
        # TLS is the reverse proxy's. Twisted's asks its component registry, for each request.
        return False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._received += len(data)
        super().dataReceived(data)
        # Nearly every request has come whole by now, and needs no timer.
        is_coming = not self._handlingRequest and (self.requests or self._buffer)
        if is_coming and self._pace is None and self.transport.connected:
            self._received = len(data)
            self._pace = reactor.callLater(self.factory.server.options.pace_s, self._judge_pace)

    def allContentReceived(self) -> None:  # noqa: N802
        self._has_come()
        super().allContentReceived()

    def _has_come(self) -> None:
        if self._pace is not None:
            self._pace.cancel()
            self._pace = None

    def _judge_pace(self) -> None:
        """Whoever sends a request in drops would keep a connection, and room for its body, for ever."""
        options = self.factory.server.options
        self._pace = None
        if self._received >= options.pace_s * options.least_bytes_per_s:
            self._received = 0
            self._pace = reactor.callLater(options.pace_s, self._judge_pace)
            return
        refusal = Refusal(408, "The request came too slowly.")
        if self.requests:
            self.requests[-1].refuse(refusal)
        else:
            refuse_on(self.transport, identified(refusal), options.refusal_body(408, "", refusal.message))

    def setTimeout(self, period: float | None) -> float | None:  # noqa: N802
        """Twisted's, with one timer that looks now and then, in place of a new one for each request."""
        before, self.timeOut = self.timeOut, period
        self.resetTimeout()
        if period is not None and self._idle is None:
            self._idle = reactor.callLater(period, self._judge_idleness)
        return before

    def resetTimeout(self) -> None:  # noqa: N802
        self._idle_since = reactor.seconds()

    def _judge_idleness(self) -> None:
        self._idle = None
        if self.timeOut is None:
            return
        left_s = self._idle_since + self.timeOut - reactor.seconds()
        if left_s > 0:
            self._idle = reactor.callLater(left_s, self._judge_idleness)
        else:
            self.timeoutConnection()

    def timeoutConnection(self) -> None:  # noqa: N802
        if self.transport.has_unsent_bytes:
            # Not idle but reading slowly, which is the transport's to judge.
            self.setTimeout(self.timeOut)
        else:
            super().timeoutConnection()

    @property
    def is_busy(self) -> bool:
        return bool(self.requests) or self.transport.has_unsent_bytes

    def end_after_answer(self) -> None:
        if self.requests:
            self.persistent = 0
        else:
            self.loseConnection()


class ProxyHTTPFactory(HTTPFactory):  # type: ignore[misc]
    """Makes connections. HTTP/2 is not spoken, so that Twisted's switch between the two is left out."""

    protocol = ProxyChannel
    server: ProxyServer

    def __init__(self, server: ProxyServer) -> None:
        super().__init__(server)
        # Both for a client that stops in the middle of its request and for a connection without one.
        self.timeOut = server.options.request_stall_s

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        channel = super().buildProtocol(addr)
        channel.requestFactory = ProxyRequest
        return channel

    def log(self, request: Any) -> None:
        """No access log: each request leaves a record elsewhere."""
