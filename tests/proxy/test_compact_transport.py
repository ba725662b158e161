from __future__ import annotations

import json
from typing import Any

import pytest

from codexproxy.http import TransportFailed
from proxy import limits
from proxy.attempts import Attempts, Turn
from proxy.compact_transport import CompactEndpoint, Compacting
from proxy.dialects.compact import read_compact_request
from proxy.errors import Surfaced
from tests.proxy.fakes import CREATED, DataPlane, FakeResponse, event, limit, ok, refusal, reset, view

pytestmark = pytest.mark.asyncio

ITEM = {"type": "compaction", "id": "cmp_1", "encrypted_content": "by-a"}
REASONING = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "by-a"}
MESSAGE = {"type": "message", "role": "user", "content": "hi"}
ANSWER = b'{"output": [ {"type":"compaction"} ]}'
TRIGGER = {"type": "compaction_trigger"}
PATH = "/codex/responses/compact"


def compacted() -> FakeResponse:
    return ok(ANSWER)


def turned() -> FakeResponse:
    done = event("response.output_item.done", output_index=0, item=ITEM)
    return ok(CREATED, done, event("response.completed", response={"id": "resp_1"}))


class CompactPlane(DataPlane):
    """With the process's knowledge of the endpoint."""

    def __init__(self, *names: str, **script: list[Any]) -> None:
        super().__init__(*(view(name) for name in names), script=script)
        upstream: Any = self.upstream
        self.endpoint = CompactEndpoint(upstream, self.clock)

    def compaction(self, *items: dict[str, Any], conversation: str = "") -> Turn:
        turn = self.turn(conversation)
        given = {"model": "gpt-5.5", "input": list(items or [MESSAGE])}
        turn.request = read_compact_request(json.dumps(given).encode()).upstream
        turn.transport = Compacting(self.endpoint)
        return turn

    async def compact(self, *items: dict[str, Any], conversation: str = "") -> bytes:
        served = await Attempts(self.compaction(*items, conversation=conversation), self.services).run()
        await served.close()
        return served.first

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.upstream.requests]


async def test_it_works() -> None:
    plane = CompactPlane("a", a=[compacted()])
    assert await plane.compact() == ANSWER
    (request,) = plane.upstream.requests
    assert (request.path, request.headers["accept"]) == (PATH, "application/json")
    assert request.body == {"model": "gpt-5.5", "input": [MESSAGE]}


@pytest.mark.parametrize(
    "answer",
    [limit(), refusal(500), refusal(403), ok(b"<html>"), ok(b'{"output"', reset()), reset()],
    ids=["limit", "error", "refused", "page", "broken body", "no body"],
)
async def test_another_account_compacts_when_one_cannot(answer: Any) -> None:
    # A connection that breaks before any answer is tried again once.
    plane = CompactPlane("a", "b", a=[answer, reset()], b=[compacted()])
    assert await plane.compact() == ANSWER
    assert plane.upstream.asked[-1] == "b"


async def test_a_401_refreshes_the_token() -> None:
    plane = CompactPlane("a", a=[refusal(401), compacted()])
    assert await plane.compact() == ANSWER
    assert plane.refresher.calls == [("a", 1)]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_without_the_endpoint_a_turn_compacts_and_that_is_remembered_for_a_while(status: int) -> None:
    plane = CompactPlane("a", a=[refusal(status), turned(), turned()])
    first = json.loads(await plane.compact())
    assert (first["object"], first["output"]) == ("response.compaction", [ITEM])
    asked = plane.upstream.requests[1]
    assert asked.body["input"] == [MESSAGE, TRIGGER]
    assert (asked.body["store"], asked.body["stream"]) == (False, True)
    assert asked.headers["accept"] == "text/event-stream"
    await plane.compact()
    assert plane.paths == [PATH, "/codex/responses", "/codex/responses"]

    plane.clock.now += limits.COMPACT_MISSING_S + 1
    plane.upstream.script["a"] = [compacted()]
    assert await plane.compact() == ANSWER


async def test_a_model_that_does_not_exist_says_nothing_about_the_endpoint() -> None:
    plane = CompactPlane("a", a=[refusal(404, {"code": "model_not_found", "message": "no such model"})])
    with pytest.raises(Surfaced) as caught:
        await plane.compact()
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert not plane.endpoint.is_missing


async def test_a_turn_that_breaks_in_its_middle_is_done_by_another_account() -> None:
    plane = CompactPlane("a", "b", a=[refusal(404), ok(CREATED, reset())], b=[turned()])
    assert json.loads(await plane.compact())["output"] == [ITEM]
    assert plane.upstream.asked == ["a", "a", "b"]


async def test_a_refusal_of_the_request_goes_to_the_client() -> None:
    plane = CompactPlane("a", "b", a=[refusal(400, {"code": "context_length_exceeded", "message": "long"})])
    with pytest.raises(Surfaced) as caught:
        await plane.compact()
    assert (caught.value.status, plane.upstream.asked) == (400, ["a"])


async def test_an_upstream_that_cannot_be_reached_is_told() -> None:
    plane = CompactPlane("a", a=[TransportFailed("connect", "refused")])
    with pytest.raises(Surfaced) as caught:
        await plane.compact()
    assert caught.value.code == "upstream_unavailable"


async def test_foreign_reasoning_is_left_out_and_who_compacts_owns_the_conversation() -> None:
    plane = CompactPlane("a", "b", a=[ok(), limit(60)], b=[compacted(), ok()])
    await plane.serve(conversation="talk")
    await plane.compact(MESSAGE, REASONING, conversation="talk")
    assert plane.upstream.requests[-1].body["input"] == [MESSAGE]

    plane.clock.now += 120
    await plane.serve(conversation="talk", input=[ITEM, MESSAGE])
    assert plane.upstream.asked == ["a", "a", "b", "b"]


async def test_a_trigger_inside_a_turn_moves_the_conversation_too() -> None:
    plane = CompactPlane("a", "b", a=[ok(), limit(60)])
    await plane.serve(conversation="talk")
    await plane.serve(conversation="talk", input=[MESSAGE, TRIGGER])
    plane.clock.now += 120
    await plane.serve(conversation="talk", input=[ITEM, MESSAGE])
    assert plane.upstream.asked == ["a", "a", "b", "b"]
