"""Requests as real clients of several generations sent them, replayed; see tests/data/recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import send
from tests.e2e.conftest import Start
from tests.test_recorded_requests import assert_nothing_lost

FOLDER = Path(__file__).parent.parent / "data/recorded"
_OWN = ("host", "content-length", "authorization", "content-encoding")


def turns(file: Path, *endings: str) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = json.loads(file.read_text())["requests"]
    return [
        request for request in requests if request["method"] == "POST" and request["path"].endswith(endings)
    ]


# Those with compactions need items of this upstream; test_compaction.py replays them.
FILES = [file for file in sorted(FOLDER.glob("*.json")) if "compact" not in file.stem]
RECORDED = [file for file in FILES if turns(file, "/codex/responses")]
V1 = [
    turn
    for file in FILES
    for turn in turns(file, "/v1/responses", "/v1/chat/completions")
    if not turn["body"].get("previous_response_id")
]


@pytest.mark.parametrize("file", RECORDED, ids=[file.stem for file in RECORDED])
def test_the_strict_upstream_accepts_it_with_every_field_intact(
    file: Path, sim: Simulator, serve: Start
) -> None:
    sim.add_account("only")
    server = serve()
    recorded = turns(file, "/codex/responses")
    for request in recorded:
        headers = {name: value for name, value in request["headers"] if name.lower() not in _OWN}
        body = json.dumps(request["body"]).encode()
        answer = send(
            server, path=request["path"], body=body, headers={**headers, "Authorization": "Bearer x"}
        )
        assert (answer.status, answer.text) == (200, "Hello from the simulator."), answer.body
        received = sim.responses()[-1]
        # The recording's reasoning is from another upstream, so it can only go out the first time.
        assert received.body == request["body"] | {"input": _readable(request["body"]["input"])}
        assert received.headers["user-agent"] == dict(headers)["User-Agent"]
    assert sim.violations == []
    assert {row[0] for row in server.wait_for_records(len(recorded))} == {"success"}


def _readable(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item.get("type") != "reasoning"]


def test_what_sdks_and_opencode_sent_is_accepted_and_reaches_upstream_whole(
    sim: Simulator, serve: Start
) -> None:
    sim.add_account("only")
    server = serve()
    assert len(V1) > 15
    for request in V1:
        headers = {name: value for name, value in request["headers"] if name.lower() not in _OWN}
        headers["Authorization"] = "Bearer x"
        answer = send(
            server, path=request["path"], body=json.dumps(request["body"]).encode(), headers=headers
        )
        assert answer.status == 200, (request["path"], answer.body)
        assert_nothing_lost(request["path"], request["body"], sim.responses()[-1].body)
    assert sim.violations == []
    assert {call.status for call in sim.responses()} == {200}
    assert len(sim.responses()) == len(V1)
