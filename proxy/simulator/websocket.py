"""The websocket form of /responses of the simulated upstream."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .asgi import Client, Scope, Send, break_connection, raw_headers
from .catalogue import etag_of
from .events import compact_json, stamped
from .exchange import account_headers, fail_body, identify, note_header_violations, received_head
from .replies import Disconnect, Fail, Reply, Silence
from .responses import refusal
from .state import Received, SimAccount, Simulator
from .turns import Asked, Ending, Turn, shape_of, turn_of
from .windows import rate_limits_event


@dataclass(slots=True)
class Connection:
    """`response_ids` are those that a later frame may name as its previous one: this connection's own."""

    sim: Simulator
    scope: Scope
    client: Client
    send: Send
    account: SimAccount
    number: int
    response_ids: set[str] = field(default_factory=set)

    async def event(self, data: bytes) -> None:
        await self.send({"type": "websocket.send", "text": data.decode()})


async def serve_websocket(sim: Simulator, scope: Scope, client: Client, send: Send) -> None:
    await client.message()
    received = received_head(sim, scope, "WEBSOCKET-HANDSHAKE")
    sim.record(received)
    note_header_violations(sim, received)
    account = _admitted(sim, received)
    if isinstance(account, Fail):
        received.status = account.status
        return await _refuse(scope, send, account)
    received.status = 101
    received.connection = int(sim.serial(), 16)
    greeting = [("x-models-etag", etag_of(sim.models)), ("x-reasoning-included", "true")]
    headers = raw_headers([*greeting, *account_headers(account)])
    await send({"type": "websocket.accept", "headers": headers})
    connection = Connection(sim, scope, client, send, account, received.connection)
    while (message := await client.message())["type"] == "websocket.receive":
        if not await _answer(connection, message.get("text")):
            break
    received.closed_by_client = client.left
    received.closed_at = sim.clock()


def _admitted(sim: Simulator, received: Received) -> SimAccount | Fail:
    if not received.path.endswith("/backend-api/codex/responses"):
        return Fail(404, {"detail": "Not Found"})
    if sim.websocket_status is not None:
        return Fail(sim.websocket_status, {"detail": "No websocket here."})
    account = identify(sim, received)
    if isinstance(account, Fail):
        return account
    if sim.refused_handshakes:
        return sim.refused_handshakes.popleft()
    return account.handshake or account


async def _refuse(scope: Scope, send: Send, fail: Fail) -> None:
    """With the status where the server can send one; Daphne always answers 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        return await send({"type": "websocket.close", "code": 1008})
    data, content_type = fail_body(fail)
    headers = [*fail.headers, ("content-type", content_type or "text/plain")]
    start = {"type": "websocket.http.response.start", "status": fail.status, "headers": raw_headers(headers)}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": data})


async def _answer(connection: Connection, text: str | None) -> bool:
    """Runs one frame's turn; False ends the connection."""
    received = received_head(connection.sim, connection.scope, "WEBSOCKET")
    received.account_id, received.connection = connection.account.id, connection.number
    connection.sim.record(received)
    try:
        body = json.loads(text or "")
    except ValueError:
        body = None
    if connection.sim.keep_bodies:
        received.body = body
    reply = _frame_refusal(connection, received, body) or connection.account.next_reply(
        warm_up=Asked.of(body).warm_up
    )
    if isinstance(reply, Fail):
        await connection.client.pause(reply.delay_s)
        received.status = reply.status
        await connection.event(error_frame(reply))
        received.finished = True
        return True
    return await _run(connection, received, body, reply)


def _frame_refusal(connection: Connection, received: Received, body: Any) -> Fail | None:
    if not isinstance(body, dict) or body.get("type") != "response.create":
        received.refused = "not a response.create frame"
        connection.sim.violations.append(f"WEBSOCKET {received.path}: {received.refused}")
        return Fail(400, {"detail": received.refused})
    previous = body.get("previous_response_id")
    if previous is not None and previous not in connection.response_ids:
        received.refused = "previous_response_not_found"
        error = {
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": f"Previous response with id '{previous}' not found.",
            "param": "previous_response_id",
        }
        return Fail(400, {"error": error})
    return refusal(connection.sim, received, connection.account, body)


def error_frame(fail: Fail) -> bytes:
    """Carries `status` and never `status_code`: the Codex CLI ignores a frame that has both."""
    body = fail.body if isinstance(fail.body, dict) else {}
    error = body.get("error") or {"type": "error", "message": str(body.get("detail", fail.body))}
    frame = {"type": "error", "status": fail.status, "error": error, "headers": dict(fail.headers)}
    return compact_json(frame)


async def _run(connection: Connection, received: Received, body: dict[str, Any], reply: Reply) -> bool:
    received.status = 200
    if isinstance(reply, Disconnect):
        await connection.client.pause(reply.delay_s)
        await break_connection(connection.send, connection.client, reset=True)
        return False
    if isinstance(reply, Fail) or (isinstance(reply, Silence) and reply.after is None):
        await connection.client.pause(None)
        return _left(connection, received)
    asked = Asked.of(body)
    shape = shape_of(reply, asked, connection.account.chatgpt_account_id)
    return await _stream(connection, received, turn_of(reply, shape, sse=False))


def _with_status(data: bytes) -> bytes:
    """An error in the middle of a turn carries a status too, over a websocket."""
    event = json.loads(data)
    if event["type"] != "error":
        return data
    error = event.get("error") or {"code": event.get("code"), "message": event.get("message")}
    is_limit = error.get("code") in ("usage_limit_reached", "rate_limit_exceeded")
    return error_frame(Fail(429 if is_limit else 500, {"error": {"type": error.get("code"), **error}}))


def _left(connection: Connection, received: Received) -> bool:
    received.closed_by_client = True
    received.closed_at = connection.sim.clock()
    return False


async def _stream(connection: Connection, received: Received, turn: Turn) -> bool:
    sim, client = connection.sim, connection.client
    serial, now = sim.serial(), sim.clock()
    received.response_id = f"resp_{serial}"
    if await _gathered(connection, turn.stream.together):
        return _left(connection, received)
    if await client.pause(turn.stream.first_byte_s + turn.stream.first_event_s):
        return _left(connection, received)
    if turn.stream.rate_limits_event:
        account = connection.account
        await connection.event(compact_json(rate_limits_event(account.windows, account.plan, now)))
    for data in turn.opening:
        await connection.event(stamped(data, serial, now))
    for data in turn.deltas:
        if await client.pause(turn.stream.interval_s):
            return _left(connection, received)
        await connection.event(stamped(data, serial, now))
        received.deltas_sent += 1
    for data in turn.closing:
        data = stamped(data, serial, now)
        await connection.event(_with_status(data) if sim.late_error_status else data)
    received.finished = turn.finished
    connection.response_ids.add(received.response_id)
    return await _end(connection, received, turn)


async def _gathered(connection: Connection, together: int) -> bool:
    """Waits until so many turns have come; True as soon as the client has left."""
    if together == 1:
        return False
    connection.sim.gathered += 1
    while connection.sim.gathered < together:
        if await connection.client.pause(0.02):
            return True
    return False


async def _end(connection: Connection, received: Received, turn: Turn) -> bool:
    if turn.ending is Ending.SILENCE:
        await connection.client.pause(None)
        return _left(connection, received)
    if turn.ending is not Ending.END:
        reset = turn.ending is Ending.RESET
        await break_connection(connection.send, connection.client, reset=reset)
        return False
    if not turn.finished:
        await connection.send({"type": "websocket.close", "code": 1011})
    return turn.finished
