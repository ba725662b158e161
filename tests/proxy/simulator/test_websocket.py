from __future__ import annotations

import asyncio
import json
from typing import Any

from proxy.simulator import Fail, FailEvent, SimAccount, Simulator

from .requests_made import credentials, turn_body

Sent = list[dict[str, Any]]


def converse(sim: Simulator, account: SimAccount, *frames: dict[str, Any]) -> Sent:
    """Sends the frames one after the other over one connection; what came back, messages and events."""
    return asyncio.run(_converse(sim, account, frames))


async def _converse(sim: Simulator, account: SimAccount, frames: tuple[dict[str, Any], ...]) -> Sent:
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: Sent = []

    async def send(message: Any) -> None:
        text = message.get("text")
        sent.append(json.loads(text) if text else message)

    inbox.put_nowait({"type": "websocket.connect"})
    for frame in frames:
        inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})
    scope = {
        "type": "websocket",
        "path": "/backend-api/codex/responses",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in credentials(account).items()],
        "extensions": {"websocket.http.response": {}},
    }
    conversation = asyncio.ensure_future(sim.app(scope, inbox.get, send))
    while not conversation.done() and sum(entry.finished for entry in sim.journal) < len(frames):
        await asyncio.sleep(0.001)
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await conversation
    return sent


def frame(**fields: Any) -> dict[str, Any]:
    return turn_body(type="response.create", **fields)


def kinds(sent: Sent) -> list[str]:
    return [message["type"] for message in sent]


def test_it_works(sim: Simulator, account: SimAccount) -> None:
    sent = converse(sim, account, frame(generate=False), frame())
    completed = [message for message in sent if message["type"] == "response.completed"]
    assert kinds(sent)[:3] == ["websocket.accept", "codex.rate_limits", "response.created"]
    assert [len(message["response"]["output"]) for message in completed] == [0, 2]
    assert sim.violations == []


def test_a_warm_up_spends_nothing_of_the_script(sim: Simulator, account: SimAccount) -> None:
    account.script(Fail.usage_limit(resets_at=1_795_395_478))
    sent = converse(sim, account, frame(generate=False), frame())
    assert sent[-1]["status"] == 429
    assert sent[-1]["error"]["type"] == "usage_limit_reached"
    assert "status_code" not in sent[-1]


def test_a_previous_response_of_another_connection_is_unknown(sim: Simulator, account: SimAccount) -> None:
    first = converse(sim, account, frame())[-1]["response"]["id"]
    sim.journal.clear()
    sent = converse(sim, account, frame(previous_response_id=first))
    assert sent[-1]["error"]["code"] == "previous_response_not_found"


def test_the_handshake_can_be_refused(sim: Simulator, account: SimAccount) -> None:
    sim.websocket_status = 426
    sent = converse(sim, account)
    assert sent[0]["status"] == 426


def test_an_error_in_the_middle_of_a_turn_carries_a_status(sim: Simulator, account: SimAccount) -> None:
    account.script(FailEvent.usage_limit(after=2, kind="error"))
    sent = converse(sim, account, frame())
    assert kinds(sent).count("response.output_text.delta") == 2
    assert (sent[-1]["type"], sent[-1]["status"]) == ("error", 429)
    assert sent[-1]["error"]["code"] == "usage_limit_reached"


def test_such_an_error_can_come_without_one(sim: Simulator, account: SimAccount) -> None:
    sim.late_error_status = False
    account.script(FailEvent.usage_limit(after=2, kind="error"))
    sent = converse(sim, account, frame())
    assert (sent[-1]["type"], sent[-1]["code"]) == ("error", "usage_limit_reached")
    assert not {"status", "status_code"} & sent[-1].keys()


def test_the_next_handshake_can_be_refused_whoever_it_is_for(sim: Simulator, account: SimAccount) -> None:
    sim.refused_handshakes.append(Fail.usage_limit())
    assert converse(sim, account)[0]["status"] == 429
    assert kinds(converse(sim, account, frame()))[-1] == "response.completed"
