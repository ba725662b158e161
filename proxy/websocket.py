"""The data plane's websocket entry: access before the accept, then one turn after another."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from codexproxy.request_id import incoming_request_id
from codexproxy.server_frames import MESSAGE_DONE, TEXT_FRAMES
from codexproxy.tasks import spawn
from proxy import limits
from proxy.answer import Send
from proxy.body import Receive
from proxy.call import Call, Scope, admit, canonical, note, received
from proxy.delivery import limit_headers
from proxy.endpoint import answered
from proxy.errors import BadRequest, NotFound, ProxyError
from proxy.events import KEEP_ALIVE_COMMENT, KEEP_ALIVE_NATIVE
from proxy.metrics import metrics
from proxy.socket_answer import SocketAnswer
from proxy.turns import frame_turn
from proxy.upstream_socket import SocketTransport

# Service restart: clients connect again, to whoever listens then.
CLOSED_BY_DRAIN = 1012
_JSON = (b"content-type", b"application/json")
_NATIVE = "/backend-api/codex/responses"
_SERVED = frozenset({_NATIVE, "/v1/responses"})


async def proxy_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application of the client paths' websockets."""
    await receive()
    call = await received(scope, receive, send)
    try:
        if canonical(scope["path"]) not in _SERVED:
            # SECURITY: as over HTTP: whom the firewall refuses does not even learn what is here.
            call.runtime.gatekeeper.check_address(call.facts, call.record.path)
            raise NotFound(scope["path"])
        admit(call)
    except ProxyError as error:
        await _refuse(call, send, error)
        return
    greeting = [
        (b"x-request-id", call.record.request_id.encode("latin-1", "replace")),
        *limit_headers(call.runtime.services),
        *call.runtime.sockets.greeting,
    ]
    await send({"type": "websocket.accept", "headers": greeting})
    await ClientSocket(call, send).serve()


async def _refuse(call: Call, send: Send, error: ProxyError) -> None:
    """Before the accept: a real answer where the server can give one (Daphne alone answers 403)."""
    note(call.record, error)
    call.record.transport, call.record.status_code, call.record.latency_ms = "websocket", error.status, 0
    metrics().observe(call.record)
    call.runtime.writer.put(call.record)
    if "websocket.http.response" not in (call.scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [_JSON, *error.headers]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": error.body()})


class ClientSocket:
    """One client's socket: its turns run one at a time, over one upstream socket at a time."""

    def __init__(self, call: Call, send: Send) -> None:
        self._call = call
        self._send = send
        self._transport = SocketTransport(call.runtime.sockets)
        self._frames: deque[MutableMapping[str, Any]] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._gone = asyncio.Event()
        self._is_draining = False
        self._turns = 0
        extensions = call.scope.get("extensions") or {}
        self._sends_batches = TEXT_FRAMES in extensions
        self._says_done = MESSAGE_DONE in extensions

    async def serve(self) -> None:
        sockets = self._call.runtime.client_sockets
        sockets.add(self)
        self._is_draining = self._call.runtime.is_draining
        reader = spawn(self._read(), name="client socket")
        try:
            while await self._is_asked():
                self._turns += 1
                await answered(self._turn_call(), self._turn)
                if self._says_done:
                    await self._send({"type": MESSAGE_DONE})
            if not self._gone.is_set():
                await self._send({"type": "websocket.close", "code": CLOSED_BY_DRAIN})
        finally:
            sockets.discard(self)
            reader.cancel()
            await self._transport.close()

    def end_after_turn(self) -> None:
        self._is_draining = True
        self._changed.set()

    async def _read(self) -> None:
        """All the time, so that a client that leaves is noticed in the middle of a turn."""
        while (message := await self._call.receive())["type"] == "websocket.receive":
            self._frames.append(message)
            self._changed.set()
            while len(self._frames) > limits.FRAMES_WAITING:
                self._taken.clear()
                await self._taken.wait()
        self._gone.set()
        self._changed.set()

    async def _is_asked(self) -> bool:
        """Whether there is a next frame; False when the client has gone, or the server is to end."""
        while not self._gone.is_set() and not self._is_draining:
            if self._frames:
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    async def _left(self) -> MutableMapping[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def _turn_call(self) -> Call:
        """The call that one turn is: with a record and an answer of its own."""
        first = self._call
        is_native = canonical(first.scope["path"]) == _NATIVE
        request_id = first.record.request_id if self._turns == 1 else incoming_request_id(None)
        keep_alive = KEEP_ALIVE_NATIVE if is_native else KEEP_ALIVE_COMMENT
        record = replace(
            first.record,
            request_id=request_id,
            requested_at=datetime.now(UTC),
            began=time.monotonic(),
            transport="websocket",
        )
        record.tokens, record.attempts, record.routing = replace(record.tokens), [], {}
        answer = SocketAnswer(self._send, request_id, keep_alive, sends_batches=self._sends_batches)
        return replace(
            first, receive=self._left, answer=answer, record=record, sink=None, transport=self._transport
        )

    async def _turn(self, call: Call) -> None:
        text = self._taken_text()
        # Again for each turn: what was allowed when the socket opened may not be any more.
        admit(call)
        if text is None:
            raise BadRequest("Binary frames are not understood here; send JSON as text.")
        await frame_turn(call, text, native=canonical(call.scope["path"]) == _NATIVE)

    def _taken_text(self) -> bytes | None:
        """Of the next frame, in the one copy that its turn needs; None for a binary one."""
        self._taken.set()
        text = self._frames.popleft().get("text")
        return text.encode() if isinstance(text, str) else None
