"""Websockets under the server: what Daphne's protocol lacks.

Refusals are real HTTP answers, the accept carries headers, messages may be compressed and are bounded, a
reader that is slow holds its writer back, and a writer that is fast is not read from. Frames and handshake
are autobahn's, which is pinned because a few of its undocumented methods are used here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from codexproxy.server_bodies import Refusal, answer_and_close
from codexproxy.server_frames import MESSAGE_DONE, TEXT_FRAMES, text_frame
from codexproxy.server_transport import WriteGate

# After the transport, which brings the right reactor.
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept  # isort: skip
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol  # isort: skip

if TYPE_CHECKING:
    from codexproxy.server import ProxyServer

CLOSED_BY_FAULT = 1011
CLOSED_BY_LOAD = 1013
# Smaller messages, such as events, cost more to compress than to send.
COMPRESSED_FROM = 4096
# How long a client may take to answer a close.
CLOSE_S = 2
# Messages that wait for the application before the socket is no longer read.
_WAITING = 2
_REASON_LIMIT = 123
_TEXT, _BINARY = 1, 2
_OF_ANSWERS = (b"content-type", b"content-length")


class Inbox(asyncio.Queue[dict[str, Any]]):
    """What the application has not taken yet. A full one stops the reading of the socket."""

    def __init__(self, socket: ProxyWebSocket) -> None:
        super().__init__()
        self._socket = socket

    async def get(self) -> dict[str, Any]:
        message = await super().get()
        self._socket.message_taken(self.qsize())
        return message


class ProxyWebSocket(WebSocketProtocol):  # type: ignore[misc]
    """One client's websocket."""

    server: ProxyServer
    # A PromptTransport; Twisted has no types for what is called here.
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self._gate = WriteGate()
        self._is_paused = False
        # Of the message that is coming; then of each that the application is not done with.
        self._reserved = 0
        self._in_flight: deque[int] = deque()
        self._accept_headers: dict[str, list[str]] = {}
        self._refusal: tuple[int, list[tuple[bytes, bytes]]] | None = None

    @property
    def has_unsent_bytes(self) -> bool:
        return bool(self.transport.has_unsent_bytes)

    async def reply(self, message: dict[str, Any]) -> None:
        """The application's `send`; it waits while the client reads more slowly than it is written to."""
        if self.state == self.STATE_OPEN:
            if message["type"] == TEXT_FRAMES:
                self._send_texts(message["frames"])
            elif message["type"] == "websocket.send":
                text = message.get("text")
                data = message["bytes"] if text is None else text.encode()
                self._send_message(data, text is None)
            elif message["type"] == MESSAGE_DONE:
                self._message_done()
            elif message["type"] == "websocket.close":
                self._close(message.get("code") or 1000, message.get("reason") or "")
            if self._gate.is_closed:
                await self._gate.wait()
        elif self.state == self.STATE_CONNECTING and hasattr(self, "handshake_deferred"):
            self._answer_handshake(message["type"], message)
        else:
            # An application that has not noticed yet must not keep the loop to itself.
            await asyncio.sleep(0)

    # --- the handshake ------------------------------------------------------------------------

    def _answer_handshake(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "websocket.accept":
            for name, value in message.get("headers", []):
                self._accept_headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
            self.handshake_deferred.callback((message.get("subprotocol"), self._accept_headers))
            del self.handshake_deferred
        elif kind == "websocket.http.response.start":
            self._refusal = (message["status"], list(message.get("headers", [])))
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            status, headers = self._refusal
            # The body is the error envelope, of which the answer says the type itself.
            kept = tuple(pair for pair in headers if pair[0] not in _OF_ANSWERS)
            self._refuse(Refusal(status, "", kept), message.get("body", b""))
        elif kind == "websocket.close":
            self._refuse(Refusal(403, "Access denied"))

    def _refuse(self, refusal: Refusal, body: bytes | None = None) -> None:
        if body is None:
            body = self.server.options.refusal_body(
                refusal.status, self.path.decode("ascii"), refusal.message
            )
        # Nobody waits for the handshake any longer.
        del self.handshake_deferred
        self.wasNotCleanReason = "refused"
        self.sendData(answer_and_close(refusal, body))
        self.dropConnection(abort=False)

    def serverReject(self) -> None:  # noqa: N802 - Daphne's and autobahn's names
        """Daphne's, for an application that has not answered in time."""
        if hasattr(self, "handshake_deferred"):
            self._refuse(Refusal(503, "The server did not answer in time."))

    def onOpen(self) -> None:  # noqa: N802
        self.server.sockets.add(self)
        # The HTTP channel is still the producer that the transport knows.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self._gate, True)
        super().onOpen()

    # --- what comes ---------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.last_ping = time.time()
        if self.autoPingTimeoutCall is not None:
            # Whoever sends is alive, though its answer to a ping waits behind a large message.
            self._cancelAutoPingTimeoutCall()
        # Not the adapter's method, which colours its debug output before it throws it away.
        self._dataReceived(data)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802
        super().onMessageFrameBegin(length)
        if not self.failedByMe:
            self._reserve(length)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        # Unpacked it may be larger than what came.
        if len(payload) > self._reserved and not self._reserve(len(payload) - self._reserved):
            return
        self._in_flight.append(self._reserved)
        self._reserved = 0
        content = {"bytes": payload} if isBinary else {"text": payload.decode()}
        self.application_queue.put_nowait({"type": "websocket.receive", **content})
        if self.application_queue.qsize() >= _WAITING and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def message_taken(self, waiting: int) -> None:
        if self._is_paused and waiting < _WAITING:
            self._is_paused = False
            self.last_ping = time.time()
            if self.state != self.STATE_CLOSED:
                self.transport.resumeProducing()

    def check_timeouts(self) -> None:
        # A socket that is not read from shows no answer to a ping.
        if not self._is_paused:
            super().check_timeouts()

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        """autobahn's hook: say so as an event, then close as the protocol demands."""
        mebibytes = max_msg_size / (1024 * 1024)
        self._send_error(413, f"A message exceeds the maximum of {mebibytes:g} MiB.")
        super()._max_message_size_exceeded(msg_size, max_msg_size, reason)

    def _send_error(self, status: int, message: str) -> None:
        if self.state == self.STATE_OPEN:
            told = json.loads(self.server.options.refusal_body(status, self.path.decode("ascii"), message))
            self.sendMessage(json.dumps({"type": "error", "status": status, **told}).encode())

    def _reserve(self, size: int) -> bool:
        """Room for more of the message that is coming, or the end of the socket."""
        if not self.server.budget.reserve(size):
            self._fail_connection(CLOSED_BY_LOAD, "The server is busy with other large requests.")
            return False
        self._reserved += size
        return True

    def _message_done(self) -> None:
        if self._in_flight:
            self.server.budget.release(self._in_flight.popleft())

    def _release(self) -> None:
        self.server.budget.release(self._reserved + sum(self._in_flight))
        self._reserved = 0
        self._in_flight.clear()

    # --- what goes ----------------------------------------------------------------------------

    def _send_texts(self, texts: list[bytes]) -> None:
        """All in one write; a large one is compressed by itself, in its place."""
        if max(map(len, texts), default=0) < COMPRESSED_FROM:
            self.sendData(b"".join(map(text_frame, texts)))
            return
        for text in texts:
            self._send_message(text, is_binary=False)

    def _send_message(self, data: bytes, is_binary: bool) -> None:
        if len(data) < COMPRESSED_FROM:
            self.sendFrame(opcode=_BINARY if is_binary else _TEXT, payload=data)
        else:
            self.sendMessage(data, is_binary)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        # autobahn's colours its debug output, too: half of what a small message costs.
        if self.state != self.STATE_CLOSED:
            self.transport.write(data)

    def _close(self, code: int, reason: str) -> None:
        # autobahn's sendClose would refuse the codes below 3000.
        self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:_REASON_LIMIT] or None, isReply=False)

    # --- the end ------------------------------------------------------------------------------

    def onCloseHandshakeTimeout(self) -> None:  # noqa: N802
        """autobahn's would throw away what a client has still to read; one that reads nothing is the
        transport's to judge."""
        self.closeHandshakeTimeoutCall = None
        self.wasNotCleanReason = "it has not answered the close"
        self.dropConnection(abort=False)

    def application_ended(self) -> None:
        """No client is left with a socket that nobody serves."""
        if self.state == self.STATE_CONNECTING and hasattr(self, "handshake_deferred"):
            self._refuse(Refusal(500, "Internal server error"))
        elif self.state == self.STATE_OPEN:
            self._close(CLOSED_BY_FAULT, "")

    def handle_exception(self, exception: BaseException) -> None:
        self.application_ended()

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N802, N803
        if not hasattr(self, "server"):
            # The handshake was none, so that nobody has heard of it.
            return
        self.server.sockets.discard(self)
        self._release()
        self._gate.stopProducing()
        super().onClose(wasClean, code, reason)


class ProxyWebSocketFactory(WebSocketFactory):  # type: ignore[misc]
    protocol = ProxyWebSocket

    def __init__(self, server: ProxyServer) -> None:
        super().__init__(server, server=server.server_name)
        self.setProtocolOptions(
            autoPingTimeout=server.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=server.websocket_handshake_timeout,
            # A client in the middle of a large message reads what is wrong with it when it has sent it.
            closeHandshakeTimeout=CLOSE_S,
            # Of what was unpacked, too.
            maxMessagePayloadSize=server.websocket_max_message_size,
            maxFramePayloadSize=server.websocket_max_frame_size,
            # A client that does something wrong is told by a close frame, not by a broken connection.
            failByDrop=False,
            perMessageCompressionAccept=lambda offers: _accepted(offers, server.websocket_max_message_size),
        )


def _accepted(offers: list[Any], limit: int) -> Any:
    """permessage-deflate, where it is offered."""
    accept: Any = PerMessageDeflateOfferAccept
    found = next((offer for offer in offers if isinstance(offer, PerMessageDeflateOffer)), None)
    return accept(found, max_message_size=limit) if found else None
