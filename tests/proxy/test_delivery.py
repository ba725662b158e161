"""What of an account's answer reaches the client behind its terminal event, and what is kept meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from codexproxy.server_departures import DEPARTURE
from proxy import limits
from proxy.attempts import Attempts, Turn
from proxy.delivery import deliver
from proxy.headers import HeaderList
from proxy.sinks import Ending
from proxy.turns import serve_turn
from tests.proxy.fakes import COMPLETED, CREATED, DELTA, DataPlane, FakeResponse, view

pytestmark = pytest.mark.asyncio

BEHIND = b": bye\n\n"


class Collected:
    """A sink that keeps what it gets."""

    is_stream = True

    def __init__(self) -> None:
        self.events = b""
        self.ending: Ending | None = None

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        self.events += first

    async def write(self, events: bytes) -> None:
        self.events += events

    async def end(self, ending: Ending) -> None:
        self.ending = ending

    async def refuse(self, error: object, headers: HeaderList) -> None:
        raise AssertionError(error)


class LeftOpen(FakeResponse):
    """Its connection stays as it is after the last part."""

    async def blocks(self) -> AsyncIterator[bytes]:
        async for block in super().blocks():
            yield block
        await asyncio.Event().wait()


async def delivered(answer: FakeResponse) -> tuple[Collected, Turn]:
    plane, sink = DataPlane(view("a"), script={"a": [answer]}), Collected()
    turn = plane.turn()
    served = await Attempts(turn, plane.services).run()
    async with asyncio.timeout(10):
        await deliver(served, sink, turn, plane.services)
    return sink, turn


@pytest.mark.parametrize("has_ended", [True, False])
async def test_what_comes_behind_the_terminal_event_is_passed_on(has_ended: bool) -> None:
    answer = FakeResponse(parts=(CREATED + DELTA, COMPLETED, BEHIND), has_ended=has_ended)
    sink, turn = await delivered(answer)
    assert sink.events == CREATED + DELTA + COMPLETED + BEHIND
    assert sink.ending == Ending(None, True, "resp_1")
    assert (turn.record.status, answer.closed) == ("success", True)


async def test_an_upstream_that_leaves_its_connection_open_is_waited_for_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "END_OF_STREAM_S", 0.01)
    answer = LeftOpen(parts=(CREATED + DELTA, COMPLETED, BEHIND))
    sink, turn = await delivered(answer)
    assert sink.events == CREATED + DELTA + COMPLETED + BEHIND
    assert (turn.record.status, answer.closed) == ("success", True)


async def test_while_the_answer_comes_the_request_is_not_kept() -> None:
    plane, kept = DataPlane(view("a"), script={"a": [FakeResponse()]}), []
    turn = plane.turn()
    size = len(turn.request.body)

    class Looks(Collected):
        async def write(self, events: bytes) -> None:
            kept.append(turn.request.body)

    call: Any = SimpleNamespace(
        runtime=plane,
        scope={"extensions": {DEPARTURE: lambda call: None}},
        answer=SimpleNamespace(keep_alive_from_now=lambda headers: None, ended=False),
        record=turn.record,
    )
    await serve_turn(call, turn, Looks())
    assert kept == [b""]
    # By its size it is charged where upstream has told no tokens.
    assert turn.request.size == size > 0
