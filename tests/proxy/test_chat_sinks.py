from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from proxy.answer import Answer
from proxy.chat_sinks import ChatStream, CollectedChat
from proxy.dialects.chat_answer import DONE, ChatAnswer
from proxy.errors import ProxyError
from proxy.events import KEEP_ALIVE_COMMENT
from proxy.outcomes import UpstreamError
from proxy.sinks import Ending

TEXT = b'data: {"type":"response.output_text.delta","delta":"hi"}\n\n'
COMPLETED = b'data: {"type":"response.completed","response":{}}\n\n'
BROKEN = Ending(UpstreamError(None, {"code": "stream_incomplete", "message": "cut off"}), False, "")
ENDED = Ending(None, True, "")
BUSY = ProxyError(503, "no_accounts", "Nobody is there.", "server_error")


class Client:
    """What a chat client receives."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.answer = Answer(self._send, "req-1", KEEP_ALIVE_COMMENT)
        self.chat = ChatAnswer("chatcmpl-1", 5, "gpt-5.5")

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]  # type: ignore[no-any-return]

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


@pytest.mark.asyncio
async def test_a_stream_ends_once() -> None:
    client = Client()
    sink = ChatStream(client.answer, client.chat)
    await sink.begin([], TEXT)
    await sink.write(COMPLETED)
    await sink.write(TEXT)
    await sink.end(ENDED)
    assert client.status == 200
    assert client.body.count(DONE) == 1
    assert client.body.endswith(DONE)
    assert client.sent[-1]["more_body"] is False


@pytest.mark.asyncio
async def test_a_stream_that_breaks_says_so_and_ends() -> None:
    client = Client()
    sink = ChatStream(client.answer, client.chat)
    await sink.begin([], TEXT)
    await sink.end(BROKEN)
    error, done = client.body.split(b"\n\n")[-3:-1]
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "stream_incomplete"
    assert done + b"\n\n" == DONE


@pytest.mark.asyncio
async def test_a_refusal_before_the_stream_has_its_status() -> None:
    client = Client()
    await ChatStream(client.answer, client.chat).refuse(BUSY, [])
    assert client.status == 503
    assert json.loads(client.body)["error"]["message"] == "Nobody is there."


@pytest.mark.asyncio
async def test_a_refusal_in_the_stream_is_a_chunk() -> None:
    client = Client()
    await client.answer.begin_stream([], b"")
    await ChatStream(client.answer, client.chat).refuse(BUSY, [])
    assert b'"no_accounts"' in client.body
    assert client.body.endswith(DONE)


@pytest.mark.asyncio
async def test_a_completion_comes_whole() -> None:
    client = Client()
    sink = CollectedChat(client.answer, client.chat)
    await sink.begin([(b"x-models-etag", b"e")], TEXT)
    await sink.write(COMPLETED)
    assert client.sent == []
    await sink.end(ENDED)
    assert (b"x-models-etag", b"e") in client.sent[0]["headers"]
    assert json.loads(client.body)["choices"][0]["message"]["content"] == "hi"


@pytest.mark.asyncio
async def test_a_completion_that_breaks_is_an_error() -> None:
    client = Client()
    sink = CollectedChat(client.answer, client.chat)
    await sink.begin([], TEXT)
    await sink.end(BROKEN)
    assert client.status == 502
    assert json.loads(client.body)["error"]["message"] == "cut off"


@pytest.mark.asyncio
async def test_an_answer_that_never_came_is_an_error() -> None:
    client = Client()
    await CollectedChat(client.answer, client.chat).end(ENDED)
    assert client.status == 502


@pytest.mark.asyncio
async def test_what_was_dropped_is_told_with_every_answer() -> None:
    client = Client()
    client.answer.own_headers.append((b"x-codexproxy-dropped", b"stop"))
    await ChatStream(client.answer, client.chat).refuse(BUSY, [])
    assert (b"x-codexproxy-dropped", b"stop") in client.sent[0]["headers"]
