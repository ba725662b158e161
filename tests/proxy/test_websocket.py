from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from accounts.tokens import FreshToken
from codexproxy.server_frames import MESSAGE_DONE
from proxy import limits
from proxy.simulator import Cut, Fail, FailEvent, Ok, Served, Silence, Simulator, running
from tests.proxy.sockets import connected, frame, kinds, plane_over, response_id

pytestmark = pytest.mark.asyncio


@pytest.fixture
def sim() -> Simulator:
    sim = Simulator()
    sim.add_account("a")
    sim.add_account("b")
    return sim


@pytest.fixture
def served(sim: Simulator) -> Iterator[Served]:
    with running(sim) as found:
        yield found


def limit() -> Fail:
    return Fail.usage_limit(resets_at=int(time.time()) + 3600)


def asked(sim: Simulator) -> list[str | None]:
    """The accounts whose sockets were sent a frame, in order."""
    return [call.account_id for call in sim.journal if call.method == "WEBSOCKET"]


def handshakes(sim: Simulator) -> int:
    return sum(call.method == "WEBSOCKET-HANDSHAKE" for call in sim.journal)


async def test_it_works(sim: Simulator, served: Served) -> None:
    async with plane_over(served) as plane, connected(plane, session_id="s") as client:
        events = await client.ask(frame())
    assert kinds(events)[0] == "codex.rate_limits"
    assert kinds(events).count("response.created") == 1
    assert kinds(events)[-1] == "response.completed"
    (record,) = plane.records
    assert (record.status, record.status_code, record.transport) == ("success", 200, "websocket")
    assert (record.account_id, record.conversation, record.tokens.output) == ("a", "s", 9)
    assert sim.violations == []


async def test_a_turn_goes_on_from_the_one_before_over_the_same_socket(
    sim: Simulator, served: Served
) -> None:
    async with plane_over(served) as plane, connected(plane) as client:
        first = await client.ask(frame(generate=False))
        second = await client.ask(frame(previous_response_id=response_id(first)))
        third = await client.ask(frame(previous_response_id=response_id(second)))
    assert kinds(third)[-1] == "response.completed"
    assert handshakes(sim) == 1 and asked(sim) == ["a", "a", "a"]
    # The warm-up asked for nothing that anybody would look up later.
    assert [record.status for record in plane.records] == ["success", "success"]
    assert len({record.request_id for record in plane.records}) == 2


@pytest.mark.parametrize(
    "reply",
    [
        limit(),
        Fail.insufficient_quota(),
        Fail.unauthorized("account_deactivated"),
        Fail.server_error(),
        Fail.overloaded(),
        FailEvent.usage_limit(),
        FailEvent.overloaded(kind="error", nested=True),
        Cut(after=0),
    ],
    ids=["limit", "quota", "closed", "500", "503", "limit event", "overload event", "cut"],
)
async def test_a_whole_conversation_goes_to_another_account_unseen(
    sim: Simulator, served: Served, reply: object
) -> None:
    sim.accounts["a"].default = reply  # type: ignore[assignment]
    async with plane_over(served) as plane, connected(plane) as client:
        events = await client.ask(frame())
    assert kinds(events)[-1] == "response.completed"
    assert kinds(events).count("response.created") == 1
    assert asked(sim)[-1] == "b"
    assert [attempt.account_id for attempt in plane.records[0].attempts][-1] == "b"


async def test_a_refused_handshake_is_judged_like_any_refusal(sim: Simulator, served: Served) -> None:
    sim.accounts["a"].handshake = limit()
    async with plane_over(served) as plane, connected(plane) as client:
        events = await client.ask(frame())
    assert kinds(events)[-1] == "response.completed"
    assert plane.candidate("a").status == "rate_limited"
    assert plane.candidate("a").reset_at > plane.clock()


async def test_a_turn_whose_account_is_limited_must_be_sent_again_as_a_whole(
    sim: Simulator, served: Served
) -> None:
    async with plane_over(served) as plane, connected(plane) as client:
        first = await client.ask(frame())
        sim.accounts["a"].default = limit()
        (refused,) = await client.ask(frame(previous_response_id=response_id(first)))
        assert (refused["status"], "status_code" in refused) == (400, False)
        assert refused["error"]["code"] == "websocket_connection_limit_reached"
        again = await client.ask(frame("hello", "and more"))
    assert kinds(again)[-1] == "response.completed"
    assert asked(sim) == ["a", "a", "b"]


async def test_when_nobody_else_can_serve_such_a_turn_the_limit_is_told(
    sim: Simulator, served: Served
) -> None:
    async with plane_over(served) as plane, connected(plane) as client:
        first = await client.ask(frame())
        for account in sim.accounts.values():
            account.default = limit()
        await client.ask(frame(previous_response_id=response_id(first)))
        (refused,) = await client.ask(frame())
    assert (refused["type"], refused["status"], "status_code" in refused) == ("error", 429, False)
    assert refused["error"]["type"] == "usage_limit_reached"
    assert isinstance(refused["error"]["resets_at"], int)
    assert [record.status_code for record in plane.records] == [200, 400, 429]
    assert [attempt.status for attempt in plane.records[-1].attempts] == [429]


@pytest.mark.parametrize("kind", ["response.failed", "error"])
async def test_a_limit_after_the_answer_has_begun_fails_this_response_only(
    sim: Simulator, served: Served, kind: str
) -> None:
    sim.accounts["a"].script(FailEvent.usage_limit(after=2, kind=kind, nested=True))
    async with plane_over(served) as plane, connected(plane) as client:
        events = await client.ask(frame())
        assert kinds(events)[-1] == "response.failed"
        assert events[-1]["response"]["error"]["code"] == "usage_limit_reached"
        again = await client.ask(frame())
    assert kinds(again)[-1] == "response.completed"
    assert asked(sim) == ["a", "b"]
    assert [record.status for record in plane.records] == ["error", "success"]


@pytest.mark.parametrize("over_http", [False, True])
async def test_an_error_without_a_status_is_told_in_a_form_that_codex_can_read(
    sim: Simulator, served: Served, over_http: bool
) -> None:
    sim.late_error_status = False
    sim.websocket_status = 426 if over_http else None
    prompt = {"code": "invalid_prompt", "message": "no"}
    sim.accounts["a"].script(FailEvent.server_error(after=2, kind="error"), FailEvent(prompt, kind="error"))
    async with plane_over(served) as plane, connected(plane, session_id="s") as client:
        late, early = await client.ask(frame()), await client.ask(frame())
    assert late[-1]["type"] == "response.failed"
    assert late[-1]["response"]["error"]["code"] == "server_error"
    assert (early[-1]["type"], early[-1]["status"], early[-1]["error"]["code"]) == (
        "error", 400, "invalid_prompt",
    )  # fmt: skip


@pytest.mark.parametrize("reset", [False, True])
async def test_a_socket_that_breaks_in_the_middle_ends_the_response(
    sim: Simulator, served: Served, reset: bool
) -> None:
    sim.accounts["a"].script(Cut(after=2, reset=reset, stream=Ok(interval_s=0.05)))
    async with plane_over(served) as plane, connected(plane) as client:
        events = await client.ask(frame())
        assert kinds(events)[-1] == "response.failed"
        assert kinds(await client.ask(frame()))[-1] == "response.completed"
    assert plane.records[0].error_code == "stream_incomplete"


async def test_a_socket_that_upstream_closed_between_two_turns_is_replaced(
    sim: Simulator, served: Served
) -> None:
    sim.accounts["a"].script(Ok(), Cut(after=0), Ok())
    async with plane_over(served) as plane, connected(plane) as client:
        first = await client.ask(frame())
        # The first frame finds it broken, and so does the one that it is replaced for.
        (refused,) = await client.ask(frame(previous_response_id=response_id(first)))
        assert refused["status"] == 400
        assert kinds(await client.ask(frame()))[-1] == "response.completed"
    assert handshakes(sim) == 2


class Renews:
    """Fetches the token that the simulator has issued last."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    async def refresh(self, account_id: str, *, stale_generation: int, reason: str) -> FreshToken:
        return FreshToken(self._sim.accounts[account_id].access_token, None, stale_generation + 1)


async def test_a_refused_token_is_renewed_and_the_same_account_asked_again(
    sim: Simulator, served: Served
) -> None:
    async with plane_over(served) as plane, connected(plane) as client:
        sim.accounts["a"].end_access()
        sim.accounts["a"].issue_access_token()
        plane.runtime.services = replace(plane.services, refresher=Renews(sim))  # type: ignore[arg-type]
        events = await client.ask(frame())
    assert kinds(events)[-1] == "response.completed"
    assert asked(sim) == ["a"] and handshakes(sim) == 2


@pytest.mark.parametrize("status", [404, 426])
async def test_without_websockets_upstream_is_asked_over_http_for_a_while(
    sim: Simulator, served: Served, status: int
) -> None:
    sim.websocket_status = status
    async with plane_over(served) as plane:
        for _ in range(2):
            async with connected(plane, openai_beta="responses_websockets=2026-02-06") as client:
                warm_up = await client.ask(frame(generate=False))
                assert kinds(warm_up) == ["response.created", "response.completed"]
                (refused,) = await client.ask(frame(previous_response_id=response_id(warm_up)))
                assert refused["status"] == 400
                assert kinds(await client.ask(frame()))[-1] == "response.completed"
        assert handshakes(sim) == 1
        sim.websocket_status = None
        plane.clock.now += limits.SOCKETS_REFUSED_S
        async with connected(plane) as client:
            await client.ask(frame())
    assert handshakes(sim) == 2
    posts = [call for call in sim.journal if call.method == "POST"]
    assert len(posts) == 2
    assert not any("openai-beta" in call.headers or "type" in call.body for call in posts)
    assert sim.violations == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        (b"\x00\x01", "Binary frames"),
        ('{"type":"response.fly"}', "response.fly"),
        ('{"model":"gpt-5.5"}', "null"),
        ('{"type":"response.create","input":[]}', "names no model"),
    ],
)
async def test_a_bad_frame_is_named_and_the_socket_goes_on(
    sim: Simulator, served: Served, content: str | bytes, says: str
) -> None:
    async with plane_over(served) as plane, connected(plane) as client:
        (refused,) = await client.ask(content)
        assert (refused["type"], refused["status"]) == ("error", 400)
        assert says in refused["error"]["message"]
        assert kinds(await client.ask(frame()))[-1] == "response.completed"
    assert [record.status for record in plane.records] == ["error", "success"]


async def test_frames_reach_upstream_and_the_client_untouched(sim: Simulator, served: Served) -> None:
    sent = frame("hällo", client_metadata={"x": "y"}, temperature=0.5)
    async with plane_over(served) as plane, connected(plane) as client:
        await client.ask(sent)
    (call,) = [call for call in sim.journal if call.method == "WEBSOCKET"]
    del sent["temperature"]
    assert call.body == sent
    assert call.headers["openai-beta"].startswith("responses_websockets=")
    assert "content-type" not in call.headers


async def test_an_openai_clients_frame_is_made_into_upstreams_shape(sim: Simulator, served: Served) -> None:
    async with plane_over(served) as plane, connected(plane, path="/v1/responses") as client:
        first = await client.ask({"type": "response.create", "model": "gpt-5.5", "input": "hi"})
        more = {"type": "response.create", "model": "gpt-5.5", "input": "on"}
        second = await client.ask({**more, "previous_response_id": response_id(first)})
    assert "codex.rate_limits" not in kinds(first)
    assert kinds(second)[-1] == "response.completed"
    assert handshakes(sim) == 1 and sim.violations == []


async def test_a_second_frame_waits_for_the_turn_before(sim: Simulator, served: Served) -> None:
    sim.accounts["a"].default = sim.accounts["b"].default = Ok(deltas=5, interval_s=0.02)
    async with plane_over(served) as plane, connected(plane) as client:
        client.say(frame("one"))
        client.say(frame("two"))
        assert kinds(await client.rest())[-1] == "response.completed"
        assert kinds(await client.rest())[-1] == "response.completed"
    assert [record.status for record in plane.records] == ["success", "success"]


async def test_a_client_that_leaves_closes_upstream_and_leaves_one_record(
    sim: Simulator, served: Served
) -> None:
    sim.accounts["a"].default = Silence(after=1)
    async with plane_over(served) as plane:
        async with connected(plane) as client:
            client.say(frame())
            while (await client.events.get())["type"] != "response.output_text.delta":
                pass
        assert [record.status for record in plane.records] == ["cancelled"]
        assert plane.candidate("a").in_flight == 0
        async with asyncio.timeout(3):
            while not sim.journal[0].closed_by_client:
                await asyncio.sleep(0.01)


async def test_a_client_that_leaves_with_more_on_its_way_is_noticed_too(
    sim: Simulator, served: Served
) -> None:
    sim.accounts["a"].default = Silence(after=1)
    async with plane_over(served) as plane:
        async with connected(plane) as client:
            for _ in range(limits.FRAMES_WAITING):
                client.say(frame())
            while (await client.events.get())["type"] != "response.output_text.delta":
                pass
        assert [record.status for record in plane.records] == ["cancelled"]
    assert asked(sim) == ["a"]


async def test_the_server_is_told_when_a_frame_is_answered(sim: Simulator, served: Served) -> None:
    async with plane_over(served) as plane, connected(plane, extensions=(MESSAGE_DONE,)) as client:
        for content in ("{", frame()):
            await client.ask(content)
    told = [number for number, message in enumerate(client.sent) if message["type"] == MESSAGE_DONE]
    assert told == [1, len(client.sent) - 1], "once after each answer"


async def test_an_idle_client_that_leaves_closes_upstream_too(sim: Simulator, served: Served) -> None:
    async with plane_over(served) as plane:
        async with connected(plane) as client:
            await client.ask(frame())
        async with asyncio.timeout(3):
            while not sim.journal[0].closed_by_client:
                await asyncio.sleep(0.01)
    assert len(plane.records) == 1


async def test_a_drain_closes_an_idle_socket_so_that_its_client_connects_again(
    sim: Simulator, served: Served
) -> None:
    async with plane_over(served) as plane, connected(plane) as client:
        await client.ask(frame())
        (socket,) = plane.runtime.client_sockets
        socket.end_after_turn()
        async with asyncio.timeout(3):
            while client.sent[-1]["type"] != "websocket.close":
                await asyncio.sleep(0.01)
    assert client.sent[-1]["code"] == 1012


async def test_a_drain_waits_for_the_running_turn(sim: Simulator, served: Served) -> None:
    sim.accounts["a"].default = Ok(deltas=5, interval_s=0.05)
    async with plane_over(served) as plane, connected(plane) as client:
        client.say(frame())
        await client.events.get()
        (socket,) = plane.runtime.client_sockets
        socket.end_after_turn()
        assert kinds(await client.rest())[-1] == "response.completed"
        async with asyncio.timeout(3):
            while client.sent[-1]["type"] != "websocket.close":
                await asyncio.sleep(0.01)


async def test_two_hours_of_turns_leak_neither_tasks_nor_sockets_nor_memory(
    sim: Simulator, served: Served
) -> None:
    sim.keep_bodies = False
    async with plane_over(served) as plane, connected(plane) as client:
        state: deque[Held] = deque(maxlen=1)
        previous, resent = "", 0
        for minute in range(120):
            fields = {"previous_response_id": previous} if previous else {}
            events = await client.ask(frame(**fields))
            if events[-1]["type"] == "error":
                resent += 1
                events = await client.ask(frame())
            previous = response_id(events)
            plane.clock.now += 60
            client.sent.clear()
            plane.records.clear()
            if minute == 10:
                tracemalloc.start()
                state.append(await held(served))
        after = await held(served)
        tracemalloc.stop()
    (before,) = state
    assert handshakes(sim) == 3 and resent == 2
    assert (before.sockets, after.sockets) == (1, 1)
    assert after.tasks == before.tasks
    assert after.size - before.size < 256 * 1024, "bytes that the code under test holds"


@dataclass
class Held:
    tasks: int
    sockets: int
    size: int


async def held(served: Served) -> Held:
    """What is there between two turns. Of this test alone: others of the process may still be ending."""
    for _ in range(20):
        # Whatever the last turn has cancelled or closed ends within a few rounds of the loop.
        await asyncio.sleep(0)
    gc.collect()
    ours = [tracemalloc.Filter(True, f"*/{folder}/*") for folder in ("codexproxy", "aiohttp")]
    ours += [tracemalloc.Filter(True, "*/proxy/*.py"), tracemalloc.Filter(False, "*/simulator/*")]
    found = tracemalloc.take_snapshot().filter_traces(ours).statistics("filename")
    return Held(len(asyncio.all_tasks()), sockets_to(served.port), sum(each.size for each in found))


def sockets_to(port: int) -> int:
    """How many this process has open towards a port of this machine."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[2].endswith(f":{port:04X}")}
    found = 0
    for name in os.listdir("/proc/self/fd"):
        # The listing's own descriptor is closed by now.
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").removeprefix("socket:[")[:-1] in inodes
    return found
