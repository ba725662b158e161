"""Whatever upstream does, and whenever a client leaves or the server ends: a socket never hangs or leaks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexproxy.http import WEBSOCKET_CLOSE_S
from proxy.events import TERMINAL
from proxy.simulator import (
    Cut,
    Disconnect,
    EndOfStream,
    Fail,
    FailEvent,
    Incomplete,
    Ok,
    Served,
    Silence,
    Simulator,
    running,
)
from tests.proxy.sockets import SocketClient, connected, frame, plane_over
from tests.proxy.test_error_frames import readable
from tests.proxy.test_websocket import sockets_to

PACED = Ok(deltas=3, interval_s=0.002)
REPLIES: list[Any] = [
    Ok(),
    PACED,
    Incomplete(),
    Fail.server_error(),
    Fail.unauthorized(),
    Fail.usage_limit(resets_at=int(time.time()) + 3600),
    FailEvent.usage_limit(after=2, kind="error", nested=True, stream=PACED),
    FailEvent.server_error(stream=PACED),
    FailEvent.server_error(after=2, kind="error", stream=PACED),
    FailEvent.context_length(kind="error"),
    FailEvent.context_length(kind="error", nested=True),
    FailEvent({"code": 400, "message": "no"}, after=1, kind="error", nested=True),
    Fail(400, {"error": "invalid_request", "status_code": 400}),
    Cut(after=0),
    Cut(after=2, reset=True, stream=PACED),
    EndOfStream(after=1, stream=PACED),
    Disconnect(),
    Silence(after=None),
    Silence(after=1, stream=PACED),
]
FRAMES: list[dict[str, Any] | str | bytes] = [
    frame(),
    frame(generate=False),
    frame(previous_response_id="resp_of_nobody"),
    "{",
    b"binary",
    {"type": "response.fly"},
]


@dataclass(frozen=True)
class Course:
    """What upstream answers, what the client sends, at once or one by one, and how it ends and when."""

    replies: list[Any]
    handshakes: list[Any]
    # 426: turns go over HTTP.
    websocket_status: int | None
    late_error_status: bool
    frames: list[dict[str, Any] | str | bytes]
    at_once: bool
    ending: str
    after_events: int
    after_rounds: int


COURSES = st.builds(
    Course,
    replies=st.lists(st.sampled_from(REPLIES), max_size=6),
    handshakes=st.lists(
        st.sampled_from([None, Fail.server_error(), Fail.unauthorized()]), min_size=2, max_size=2
    ),
    websocket_status=st.sampled_from([None, None, 426]),
    late_error_status=st.booleans(),
    frames=st.lists(st.sampled_from(FRAMES), min_size=1, max_size=4),
    at_once=st.booleans(),
    ending=st.sampled_from(["stays", "leaves", "drains"]),
    after_events=st.integers(0, 8),
    after_rounds=st.integers(0, 60),
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    sim = Simulator()
    sim.add_account("a")
    sim.add_account("b")
    with running(sim) as found:
        yield found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(course=COURSES)
def test_each_frame_is_answered_once_and_nothing_stays_behind(served: Served, course: Course) -> None:
    sim = served.simulator
    sim.clear()
    sim.websocket_status, sim.late_error_status = course.websocket_status, course.late_error_status
    for account, handshake in zip(sim.accounts.values(), course.handshakes, strict=True):
        account.handshake = handshake
        # What one is asked the other is not: each has every reply.
        account.script(*course.replies)
    asyncio.run(run(served, course))


async def run(served: Served, course: Course) -> None:
    async with asyncio.timeout(30), plane_over(served) as plane:
        plane.services.upstream.silence_s = 0.05
        before = asyncio.all_tasks()
        async with connected(plane) as client:
            happening = asyncio.ensure_future(conversation(client, course))
            if course.ending == "stays":
                await happening
            else:
                await moment(client, course, happening)
                if course.ending == "drains":
                    # As the runtime does it.
                    plane.runtime.is_draining = True
                    for socket in list(plane.runtime.client_sockets):
                        socket.end_after_turn()
                    while client.sent[-1:] == [] or client.sent[-1]["type"] != "websocket.close":
                        await asyncio.sleep(0.001)
        # The client has left by now, and its socket has ended within the time of a close.
        happening.cancel()
        await asyncio.wait({happening})
        check_told(client, course)
        assert not plane.runtime.client_sockets
        assert [plane.candidate(name).in_flight for name in ("a", "b")] == [0, 0]
        assert len({record.request_id for record in plane.records}) == len(plane.records)
        assert len(plane.records) <= len(course.frames)
        # Whoever closes a socket of upstream waits briefly for its answer.
        if left := asyncio.all_tasks() - before:
            await asyncio.wait(left, timeout=2 * WEBSOCKET_CLOSE_S)
        assert asyncio.all_tasks() == before, [task.get_name() for task in asyncio.all_tasks()]
        # Over HTTP the one connection is kept, to be used again.
        assert sockets_to(served.port) <= (course.websocket_status is not None)


async def conversation(client: SocketClient, course: Course) -> None:
    if course.at_once:
        for content in course.frames:
            client.say(content)
        for _ in course.frames:
            await client.rest()
    else:
        for content in course.frames:
            await client.ask(content)


async def moment(client: SocketClient, course: Course, happening: asyncio.Future[None]) -> None:
    while len(client.sent) < course.after_events and not happening.done():
        await asyncio.sleep(0)
    for _ in range(course.after_rounds):
        await asyncio.sleep(0)


def check_told(client: SocketClient, course: Course) -> None:
    told = [json.loads(message["text"]) for message in client.sent if message["type"] == "websocket.send"]
    endings = [event for event in told if event["type"] in TERMINAL]
    if course.ending == "stays":
        assert len(endings) == len(course.frames)
    assert len(endings) <= len(course.frames)
    for event in endings:
        assert event["type"] != "error" or readable(event), event
    if course.ending == "drains":
        assert client.sent[-1] == {"type": "websocket.close", "code": 1012}
