"""Our limit: Daphne as it is, and the same HTTP client, passing blocks or frames on and nothing else."""

from __future__ import annotations

import os
from typing import Any

from codexproxy.http import HttpClient

_UPSTREAM = os.environ["BENCH_UPSTREAM"]
_WITHIN_S = 30
_client: HttpClient | None = None


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global _client
    if _client is None:
        _client = HttpClient()
    if scope["type"] == "websocket":
        await _socket(_client, receive, send)
        return
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]
    response = await _client.send("POST", _UPSTREAM + "/codex/responses", headers, bytes(body))
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(b"content-type", b"text/event-stream")],
        }
    )
    async for block in response.blocks():
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    await response.close()


async def _socket(client: HttpClient, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    upstream = await client.connect(_UPSTREAM + "/codex/responses", [], message_limit=1 << 26)
    while (message := await receive())["type"] == "websocket.receive":
        await upstream.send(message["text"].encode(), _WITHIN_S)
        data = b""
        while b"response.completed" not in data:
            data = await upstream.receive()
            await send({"type": "websocket.send", "text": data.decode()})
    await upstream.close()
