from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy import limits
from proxy.answer import Answer

pytestmark = pytest.mark.asyncio


class Client:
    """Collects what it is sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.something_came = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        self.something_came.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def answer_to(client: Client) -> Answer:
    return Answer(client.send, "rid", b": keep-alive\n\n")


async def test_a_stream_has_one_start_and_one_end() -> None:
    client = Client()
    answer = answer_to(client)
    await answer.begin_stream([(b"cf-ray", b"r")], b"a")
    await answer.write(b"b")
    await answer.end()
    assert [message["type"] for message in client.messages].count("http.response.start") == 1
    assert dict(client.messages[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert [message.get("more_body") for message in client.messages[1:]] == [True, True, False]


async def test_every_answer_carries_a_request_id_and_upstreams_goes_first() -> None:
    ours, theirs = Client(), Client()
    await answer_to(ours).whole(200, [], b"{}")
    await answer_to(theirs).whole(200, [(b"x-request-id", b"up")], b"{}")
    assert dict(ours.messages[0]["headers"])[b"x-request-id"] == b"rid"
    assert dict(theirs.messages[0]["headers"])[b"x-request-id"] == b"up"


async def test_a_silence_brings_the_200_and_a_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNJUDGED_S", 0.0)
    monkeypatch.setattr(limits, "KEEP_ALIVE_S", 0.0)
    client = Client()
    answer = answer_to(client)
    answer.keep_alive_from_now(lambda: [(b"x-codex-primary-used-percent", b"5.0")])
    await asyncio.wait_for(client.something_came.wait(), 5)
    answer.stop()
    assert answer.begun
    assert client.messages[0]["status"] == 200
    assert (b"x-codex-primary-used-percent", b"5.0") in client.messages[0]["headers"]


async def test_no_keep_alive_comes_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNJUDGED_S", 0.0)
    client = Client()
    answer = answer_to(client)
    answer.keep_alive_from_now(list)
    await answer.whole(400, [], b"{}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.body == b"{}"
