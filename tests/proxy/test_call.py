from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy import limits
from proxy.call import received
from proxy.runtime import stop_runtime

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


async def sent_in_silence(path: str) -> bytes:
    """What a client of this path gets as the first thing after its 200."""
    something_came = asyncio.Event()
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)
        if message.get("body"):
            something_came.set()

    async def receive() -> Any:
        raise NotImplementedError

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "client": ("127.0.0.1", 1)}
    call = await received(scope, receive, send)
    try:
        call.answer.keep_alive_from_now(list)
        await asyncio.wait_for(something_came.wait(), 30)
        call.answer.stop()
    finally:
        await stop_runtime()
    return next(message["body"] for message in messages if message.get("body"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/backend-api/codex/responses", b'data: {"type":"codex.keepalive"}\n\n'),
        ("/v1/responses", b": keep-alive\n\n"),
        ("/v1/chat/completions", b": keep-alive\n\n"),
    ],
)
async def test_a_silence_is_filled_for_codex_by_an_event_and_for_others_by_a_comment(
    path: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codex counts events only, and OpenAI's clients know no such event."""
    monkeypatch.setattr(limits, "UNJUDGED_S", 0.0)
    monkeypatch.setattr(limits, "KEEP_ALIVE_S", 0.0)
    assert await sent_in_silence(path) == expected
