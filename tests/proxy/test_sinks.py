from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import httpx
import openai
import pytest

from proxy import limits
from proxy.answer import Answer
from proxy.errors import ProxyError
from proxy.events import KEEP_ALIVE_COMMENT
from proxy.outcomes import UpstreamError
from proxy.sinks import Ending, EventSink, ResponsesStream
from tests.proxy.fakes import CREATED, DELTA, event

pytestmark = pytest.mark.asyncio

BUSY = ProxyError(503, "no_accounts", "Nobody is there.", "server_error")
ITEM = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
}


class Client:
    """What a client receives."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.something_came = asyncio.Event()
        self.answer = Answer(self._send, "req-1", KEEP_ALIVE_COMMENT)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)
        self.something_came.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def of_v1(self) -> ResponsesStream:
        return ResponsesStream(self.answer, "req-1", 5, keeps_events=False, model="gpt-5.5")

    @property
    def native(self) -> EventSink:
        return EventSink(self.answer, "req-1", 5, keeps_events=True)

    async def is_kept_alive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A silence before anything was judged: the 200 is out."""
        monkeypatch.setattr(limits, "UNJUDGED_S", 0.0)
        monkeypatch.setattr(limits, "KEEP_ALIVE_S", 1.0)
        self.answer.keep_alive_from_now(list)
        await asyncio.wait_for(self.something_came.wait(), 60)


def read_by_openai(body: bytes) -> tuple[list[Any], Any]:
    """The events that the real SDK makes of a stream, and its stream."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    with (
        openai.OpenAI(base_url="http://here/v1", api_key="sk", http_client=http) as client,
        client.responses.stream(model="gpt-5.5", input="hi") as stream,
    ):
        return list(stream), stream


async def test_a_failure_after_a_keep_alive_is_one_that_openai_s_client_can_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    await client.is_kept_alive(monkeypatch)
    await client.of_v1.refuse(BUSY, [])
    (created, failed), _ = read_by_openai(client.body)
    assert (created.type, created.response.model) == ("response.created", "gpt-5.5")
    assert (failed.type, failed.response.error.message) == ("response.failed", "Nobody is there.")
    assert created.response.id == failed.response.id == "req-1"


async def test_a_failure_behind_upstream_s_own_beginning_adds_no_second_one() -> None:
    client = Client()
    sink = client.of_v1
    await sink.begin([], CREATED + DELTA)
    await sink.end(
        Ending(UpstreamError(None, {"code": "stream_incomplete", "message": "cut"}), False, "resp_1")
    )
    assert client.body.count(b"event: response.created") == 1
    assert b"event: response.failed" in client.body


async def test_codex_gets_the_failure_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    await client.is_kept_alive(monkeypatch)
    await client.native.refuse(BUSY, [])
    assert b"response.created" not in client.body
    assert b"event: response.failed" in client.body


async def test_openai_s_client_finds_the_answer_where_upstream_s_last_event_lacks_it() -> None:
    client = Client()
    sink = client.of_v1
    added = ITEM | {"status": "in_progress", "content": []}
    response = {"id": "resp_1", "object": "response", "model": "gpt-5.5", "output": []}
    await sink.begin([], event("response.created", response=response))
    await sink.write(event("response.output_item.added", output_index=0, item=added))
    await sink.write(event("response.output_item.done", output_index=0, item=ITEM))
    await sink.write(event("response.completed", response=response))
    await sink.end(Ending(None, True, "resp_1"))
    _, stream = read_by_openai(client.body)
    assert stream.get_final_response().output_text == "hi"


async def test_codex_gets_upstream_s_last_event_as_it_came() -> None:
    client = Client()
    sink = client.native
    events = event("response.output_item.done", output_index=0, item=ITEM) + event(
        "response.completed", response={"id": "resp_1", "output": []}
    )
    await sink.begin([], events)
    await sink.end(Ending(None, True, "resp_1"))
    assert client.body == events
