from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from codexproxy.server_frames import TEXT_FRAMES
from proxy import limits
from proxy.errors import ProxyError, Surfaced
from proxy.events import KEEP_ALIVE_COMMENT, KEEP_ALIVE_NATIVE
from proxy.sinks import Ending, EventSink
from proxy.socket_answer import SocketAnswer
from proxy.upstream import broken
from tests.proxy.fakes import CREATED, DELTA, event, reset

pytestmark = pytest.mark.asyncio


class Frames:
    def __init__(self, *, in_batches: bool = False) -> None:
        self.sent: list[str] = []
        self.batches: list[int] = []
        self.something_came = asyncio.Event()
        self.answer = SocketAnswer(self._send, "rid", KEEP_ALIVE_NATIVE, sends_batches=in_batches)

    async def _send(self, message: Any) -> None:
        if message["type"] == TEXT_FRAMES:
            self.batches.append(len(message["frames"]))
            self.sent += [frame.decode() for frame in message["frames"]]
        else:
            assert message["type"] == "websocket.send"
            self.sent.append(message["text"])
        self.something_came.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.sent]

    def sink(self) -> EventSink:
        return EventSink(self.answer, "rid", 1, keeps_events=True)


def error(code: str, **fields: Any) -> bytes:
    return event("error", error={"code": code, "message": "no"}, **fields)


async def test_a_server_that_takes_many_frames_is_given_all_at_once() -> None:
    frames = Frames(in_batches=True)
    await frames.answer.begin_stream([], CREATED + DELTA)
    await frames.answer.write(DELTA * 3)
    assert (frames.batches, len(frames.events)) == ([2, 3], 5)


@pytest.mark.parametrize("in_batches", [False, True])
async def test_each_event_is_a_frame_of_its_own(in_batches: bool) -> None:
    frames = Frames(in_batches=in_batches)
    await frames.sink().begin([(b"x-a", b"b")], CREATED + b": comment\n\n" + DELTA + b"data: [DONE]\n\n")
    assert [found["type"] for found in frames.events] == ["response.created", "response.output_text.delta"]
    assert frames.answer.status == 200


async def test_a_frame_is_the_events_data_byte_for_byte() -> None:
    frames = Frames()
    await frames.answer.write('data: {"type": "x",  "ä":1}\n\n'.encode())
    assert frames.sent == ['{"type": "x",  "ä":1}']


async def test_a_refusal_is_one_frame_with_one_status() -> None:
    frames = Frames()
    limits_of_pool = [(b"x-codex-primary-used-percent", b"12.0")]
    await frames.sink().refuse(
        ProxyError(429, "usage_limit_reached", "no", "usage_limit_reached"), limits_of_pool
    )
    (told,) = frames.events
    assert (told["type"], told["status"], told["error"]["code"]) == ("error", 429, "usage_limit_reached")
    assert "status_code" not in told
    assert told["headers"] == {"x-codex-primary-used-percent": "12.0"}
    assert frames.answer.ended


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"detail": "No.", "status_code": 400}, {"message": "No."}),
        ({"error": "invalid_request"}, {"code": "invalid_request", "message": "invalid_request"}),
        ({"type": "about:blank", "status": "400", "detail": "No."}, {"message": "No."}),
        ({"error": {"code": 400, "message": "No.", "param": "input"}}, {"message": "No.", "param": "input"}),
        ({"error": {"code": "c", "message": "No."}, "headers": []}, {"code": "c", "message": "No."}),
    ],
)
async def test_of_upstreams_own_body_a_refusal_takes_the_error_only(
    raw: dict[str, Any], said: dict[str, Any]
) -> None:
    frames = Frames()
    await frames.sink().refuse(Surfaced(400, "c", "m", raw=json.dumps(raw).encode()), [])
    assert frames.events == [{"type": "error", "status": 400, "error": said, "headers": {}}]


async def test_a_refusal_that_came_as_events_ends_with_one_error() -> None:
    frames = Frames()
    events = CREATED + event("error", code="invalid_prompt", message="no")
    await frames.sink().refuse(Surfaced(400, "c", "m", events=events), [])
    told = frames.events
    assert [found["type"] for found in told] == ["response.created", "error"]
    assert (told[-1]["status"], told[-1]["error"]["code"]) == (400, "invalid_prompt")
    assert (frames.answer.status, frames.answer.ended) == (400, True)


@pytest.mark.parametrize(
    "late",
    [
        error("usage_limit_reached", status=429),
        error("rate_limit_exceeded"),
        error("anything", status=429),
        error("invalid_token", status_code=401),
    ],
)
async def test_what_would_be_final_for_the_client_only_fails_the_response(late: bytes) -> None:
    for comes_with_the_first in (False, True):
        frames = Frames()
        await frames.answer.begin_stream([], DELTA + late if comes_with_the_first else DELTA)
        await frames.answer.write(DELTA if comes_with_the_first else DELTA + late)
        assert [found["type"] for found in frames.events].count("response.failed") == 1
        assert "error" not in [found["type"] for found in frames.events]


async def test_any_other_late_error_passes_as_it_came() -> None:
    frames = Frames()
    await frames.answer.write(error("server_error", status=500) + event("x", text='an "error" in a text'))
    assert [found["type"] for found in frames.events] == ["error", "x"]


async def test_an_answer_that_breaks_ends_with_a_failure() -> None:
    frames = Frames()
    sink = frames.sink()
    await sink.begin([], DELTA)
    await sink.end(Ending(broken(reset()), False, "resp_1"))
    assert frames.events[-1]["type"] == "response.failed"
    assert frames.events[-1]["response"]["id"] == "resp_1"


async def test_silence_is_filled_and_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNJUDGED_S", 0.0)
    monkeypatch.setattr(limits, "KEEP_ALIVE_S", 0.0)
    frames = Frames()
    frames.answer.keep_alive_from_now(lambda: [])
    await asyncio.wait_for(frames.something_came.wait(), 5)
    frames.answer.stop()
    assert frames.events[0] == {"type": "codex.keepalive"}
    assert not frames.answer.begun


async def test_no_keep_alive_follows_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task may wait for its turn while the last frame goes out."""
    monkeypatch.setattr(limits, "UNJUDGED_S", 0.0)
    monkeypatch.setattr(limits, "KEEP_ALIVE_S", 0.0)
    frames = Frames()
    frames.answer.keep_alive_from_now(lambda: [])
    while not any(task.get_name() == "keep-alive" for task in asyncio.all_tasks()):
        await asyncio.sleep(0)
    await frames.answer.end(DELTA)
    await asyncio.sleep(0)
    assert frames.events[-1]["type"] == "response.output_text.delta"


async def test_openai_clients_are_spared_events_that_they_do_not_know() -> None:
    frames = Frames()
    await frames.answer.write(KEEP_ALIVE_COMMENT)
    assert frames.sent == []
