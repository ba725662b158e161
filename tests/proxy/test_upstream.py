"""Towards the ChatGPT backend."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from codexproxy.http import HttpClient, Timeouts
from proxy import limits
from proxy.upstream import Upstream, refusal_of


class Recorder:
    """In place of the HTTP client: keeps how long it may wait."""

    def __init__(self) -> None:
        self.timeouts: list[Timeouts] = []

    async def send(self, method: str, url: str, headers: Any, body: bytes, timeouts: Timeouts) -> None:
        self.timeouts.append(timeouts)


@pytest.mark.asyncio
async def test_a_changed_silence_holds_for_the_next_request() -> None:
    client = Recorder()
    upstream = Upstream(cast(HttpClient, client), "http://127.0.0.1:9")
    await upstream.respond([], b"{}")
    upstream.silence_s = 45.0
    await upstream.respond([], b"{}")
    assert client.timeouts == [
        Timeouts(limits.CONNECT_TIMEOUT_S, limits.UPSTREAM_SILENCE_S),
        Timeouts(limits.CONNECT_TIMEOUT_S, 45.0),
    ]


class Answered:
    """A refusal with this body."""

    status = 502

    def __init__(self, body: bytes) -> None:
        self._body = body

    def header(self, name: bytes) -> str | None:
        return None

    async def read(self, limit: int) -> bytes:
        return self._body


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":"\xff"}', b"[" * 9000 + b"]" * 9000])
async def test_a_body_that_is_no_object_is_told_by_its_status(body: bytes) -> None:
    refusal = await refusal_of(Answered(body))
    assert (refusal.message, refusal.body) == ("Upstream error: HTTP 502 Bad Gateway", b"")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("detail", "told"),
    [
        (
            [
                {"loc": ["body", "input", 0], "msg": "Field required", "type": "missing"},
                {"loc": [], "msg": "Too long"},
            ],
            "body.input.0: Field required; Too long",
        ),
        (["one", "two"], "one; two"),
        ([], "Upstream error: HTTP 502 Bad Gateway"),
    ],
)
async def test_a_list_of_mistakes_is_told_with_their_places(detail: list[Any], told: str) -> None:
    assert (await refusal_of(Answered(json.dumps({"detail": detail}).encode()))).message == told
