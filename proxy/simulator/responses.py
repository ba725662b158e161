"""POST /responses and /responses/compact of the simulated upstream."""

from __future__ import annotations

from typing import Any

from .asgi import break_connection
from .catalogue import etag_of
from .contract import (
    body_refusal,
    foreign_content,
    foreign_content_error,
    foreign_turn_state,
    named_files,
    turn_state,
)
from .events import SERIAL_BYTES, compact_json, sse_block, stamped, usage_object
from .exchange import Exchange, account_headers, identify, merged_headers
from .replies import Disconnect, Fail, Ok, Reply, Silence, ToolCall
from .state import Received, SimAccount, Simulator
from .tokens import encrypted_content
from .turns import Asked, Ending, Turn, shape_of, turn_of
from .windows import rate_limits_event


def refusal(
    sim: Simulator, received: Received, account: SimAccount, body: Any, *, compact: bool = False
) -> Fail | None:
    """What the backend answers before it runs anything; notes the violations."""
    detail = body_refusal(body, websocket=received.method == "WEBSOCKET", compact=compact)
    if detail is not None:
        received.refused = detail
        sim.violations.append(f"{received.method} {received.path}: {detail}")
        return Fail(400, {"detail": detail})
    owner = account.chatgpt_account_id
    if foreign_turn_state(received.headers, owner):
        sim.violations.append(f"{received.path}: another account's turn state reached {account.id}")
    if any(sim.files.get(file_id, owner) != owner for file_id in named_files(body)):
        received.refused = "file_not_found"
        return Fail(404, {"detail": "File not found"})
    content = foreign_content(body, owner)
    if content is None:
        return None
    received.refused = "invalid_encrypted_content"
    return Fail(400, foreign_content_error(content, with_code=sim.foreign_content_code))


async def respond(exchange: Exchange, body: Any) -> None:
    sim = exchange.sim
    account = identify(sim, exchange.received)
    if isinstance(account, Fail):
        return await exchange.fail(account, [])
    refused = refusal(sim, exchange.received, account, body)
    reply = refused or account.next_reply()
    if isinstance(reply, Fail):
        return await exchange.fail(reply, account_headers(account))
    if isinstance(reply, Disconnect):
        return await _disconnect(exchange, reply)
    if isinstance(reply, Silence) and reply.after is None:
        return await _silence(exchange)
    asked = Asked.of(body)
    turn = turn_of(reply, shape_of(reply, asked, account.chatgpt_account_id), sse=True)
    await _stream(exchange, account, turn, asked.model)


async def _disconnect(exchange: Exchange, reply: Disconnect) -> None:
    await exchange.client.pause(reply.delay_s)
    exchange.received.closed_at = exchange.sim.clock()
    await break_connection(exchange.send, exchange.client, reset=True)


async def _silence(exchange: Exchange) -> None:
    await exchange.client.pause(None)
    exchange.mark_left()


def stream_headers(account: SimAccount, turn: Turn, model: str) -> list[tuple[str, str]]:
    sim = account.simulator
    base = [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("openai-model", model),
        ("x-models-etag", etag_of(sim.models)),
        ("x-reasoning-included", "true"),
        ("x-codex-turn-state", turn_state(account.chatgpt_account_id, sim.serial())),
        *account_headers(account),
    ]
    return merged_headers(base, turn.stream.headers)


def opening_bytes(account: SimAccount, turn: Turn, serial: str, now: float) -> list[bytes]:
    """The first events, stamped, in SSE form."""
    opening = [stamped(block, serial, now) for block in turn.opening]
    if turn.stream.rate_limits_event:
        event = rate_limits_event(account.windows, account.plan, now)
        opening.insert(0, sse_block(compact_json(event)))
    return opening


async def _stream(exchange: Exchange, account: SimAccount, turn: Turn, model: str) -> None:
    sim, received, client = exchange.sim, exchange.received, exchange.client
    serial, now = sim.serial(), sim.clock()
    received.response_id = f"resp_{serial}"
    if turn.stream.first_byte_s and await client.pause(turn.stream.first_byte_s):
        return exchange.mark_left()
    await exchange.start(200, stream_headers(account, turn, model))
    if turn.stream.first_event_s:
        await exchange.body(b"", more=True)
        if await client.pause(turn.stream.first_event_s):
            return exchange.mark_left()
    await _write(exchange, turn, b"".join(opening_bytes(account, turn, serial, now)))
    if not await _write_deltas(exchange, turn, serial):
        return exchange.mark_left()
    closing = [stamped(block, serial, now) for block in turn.closing]
    if turn.stream.done_marker:
        closing.append(b"data: [DONE]\n\n")
    if closing:
        await _write(exchange, turn, b"".join(closing))
    await _end(exchange, turn)


async def _write_deltas(exchange: Exchange, turn: Turn, serial: str) -> bool:
    """False when the client left on the way."""
    burst = max(1, turn.stream.burst)
    for start in range(0, len(turn.deltas), burst):
        if await exchange.client.pause(turn.stream.interval_s):
            return False
        block = b"".join(turn.deltas[start : start + burst])
        await _write(exchange, turn, block.replace(SERIAL_BYTES, serial.encode()))
        exchange.received.deltas_sent += min(burst, len(turn.deltas) - start)
    return True


async def _write(exchange: Exchange, turn: Turn, data: bytes) -> None:
    size = turn.stream.torn
    if not size:
        return await exchange.body(data, more=True)
    for start in range(0, len(data), size):
        await exchange.body(data[start : start + size], more=True)
        await exchange.client.pause(0)


async def _end(exchange: Exchange, turn: Turn) -> None:
    if turn.ending is Ending.END:
        await exchange.body(b"")
        exchange.received.finished = turn.finished
    elif turn.ending is Ending.SILENCE:
        await _silence(exchange)
    else:
        await break_connection(exchange.send, exchange.client, reset=turn.ending is Ending.RESET)


async def compact(exchange: Exchange, body: Any) -> None:
    sim = exchange.sim
    if sim.compact_status is not None:
        return await exchange.json(sim.compact_status, {"detail": "Not Found"})
    account = identify(sim, exchange.received)
    if isinstance(account, Fail):
        return await exchange.fail(account, [])
    reply: Reply = refusal(sim, exchange.received, account, body, compact=True) or account.next_reply()
    if isinstance(reply, Fail):
        return await exchange.fail(reply, account_headers(account))
    if isinstance(reply, Disconnect):
        return await _disconnect(exchange, reply)
    if isinstance(reply, Silence):
        return await _silence(exchange)
    stream = reply if isinstance(reply, Ok) else reply.then if isinstance(reply, ToolCall) else reply.stream
    if await exchange.client.pause(stream.first_byte_s):
        return exchange.mark_left()
    await exchange.json(200, compaction_answer(account, stream), account_headers(account))


def compaction_answer(account: SimAccount, stream: Ok) -> dict[str, Any]:
    serial = account.simulator.serial()
    item = {
        "id": f"cmp_{serial}",
        "type": "compaction",
        "encrypted_content": encrypted_content(account.chatgpt_account_id, serial),
    }
    return {
        "id": f"resp_{serial}",
        "object": "response.compaction",
        "created_at": int(account.simulator.clock()),
        "output": [item],
        "usage": usage_object(stream.usage),
    }
