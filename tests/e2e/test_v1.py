"""What /v1 forgives, what it tells besides the answer, and what it keeps of what it is sent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.simulator import Fail, Ok, Simulator, ToolCall
from tests.e2e.asking import Answer, send
from tests.e2e.conftest import Start
from tests.e2e.server import Server

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-5.5", "messages": [{"role": "user", "content": "hi"}]},
    RESPONSES: {"model": "gpt-5.5", "input": "hi"},
    "/v1/responses/compact": {"model": "gpt-5.5", "input": "hi"},
}
MODELS_LIST = Path(__file__).parent.parent / "data/recorded/sdk_models_list.json"


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("first")
    return serve()


def post(server: Server, path: str, **fields: Any) -> Answer:
    body = BODIES[path.rstrip("/").replace("/v1/v1", "/v1")] | fields
    headers = {"Content-Type": "application/json"}
    return send(server, path=path, body=json.dumps(body).encode(), headers=headers)


def test_a_second_v1_and_a_slash_at_the_end_are_forgiven(sim: Simulator, server: Server) -> None:
    for path in BODIES:
        for written in (path + "/", "/v1" + path, f"/v1{path}/"):
            assert post(server, written).status == 200, written
    for path in ("/v1/models/", "/v1/v1/models", "/v1/models/gpt-5.5/", "/v1/v1/models/gpt-5.5"):
        assert send(server, "GET", path).status == 200, path
    assert sim.violations == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/embeddings"), ("GET", "/v1/files"), ("POST", "/v1/completions"), ("GET", "/v1")],
)
def test_what_is_not_served_is_a_404_that_says_what_is(method: str, path: str, server: Server) -> None:
    answer = send(server, method, path, b"{}" if method == "POST" else None)
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert path in answer.error["message"] and CHAT in answer.error["message"]


def test_every_answer_has_the_request_s_id(sim: Simulator, server: Server) -> None:
    given = {"x-request-id": "rid-1", "Content-Type": "application/json"}
    sim.accounts["first"].script(Ok(), Fail.detail(400, "no"))
    asked = [("POST", RESPONSES, BODIES[RESPONSES]), ("POST", CHAT, BODIES[CHAT])]
    asked += [("POST", CHAT, {}), ("GET", "/v1/models", None), ("GET", "/v1/nope", None), ("GET", CHAT, None)]
    answers = [
        send(server, method, path, None if body is None else json.dumps(body).encode(), given)
        for method, path, body in asked
    ]
    assert [answer.status for answer in answers] == [200, 400, 400, 200, 404, 405]
    # An account's answer has upstream's id, which is what its support asks for.
    served, *others = [answer.header("x-request-id") for answer in answers]
    assert served and served.startswith("req_")
    assert set(others) == {"rid-1"}
    del given["x-request-id"]
    own = {send(server, "GET", "/v1/nope", headers=given).header("x-request-id") for _ in range(2)}
    assert len(own) == 2 and None not in own


def test_the_limits_in_the_headers_are_the_pool_s_and_not_the_account_s(sim: Simulator, serve: Start) -> None:
    reset = int(time.time()) + 600
    for name, used in (("first", "80"), ("second", "20")):
        headers = {"used-percent": used, "window-minutes": "300", "reset-at": str(reset)}
        given = tuple((f"x-codex-primary-{key}", value) for key, value in headers.items())
        sim.add_account(name).default = Ok(headers=given, rate_limits_event=False)
    server = serve()
    for number in range(6):
        post(server, RESPONSES, input=f"conversation {number}")
    assert {call.account_id for call in sim.responses()} == {"first", "second"}
    for path, fields in (
        (RESPONSES, {}),
        (CHAT, {}),
        (CHAT, {"stream": True}),
        (RESPONSES, {"stream": True}),
    ):
        answer = post(server, path, **fields)
        assert answer.header("x-codex-primary-used-percent") == "50.0", path
        assert answer.header("x-codex-primary-window-minutes") == "300"
    sim.accounts["first"].default = sim.accounts["second"].default = Fail.detail(400, "no")
    refused = post(server, CHAT)
    assert (refused.status, refused.header("x-codex-primary-window-minutes")) == (400, "300")


def test_what_a_chat_drops_is_named_on_each_of_its_answers(sim: Simulator, server: Server) -> None:
    fields = {"seed": 1, "stop": ["x"], "temperature": 0}
    sim.accounts["first"].script(Ok(), Ok(), Fail.detail(400, "no"))
    answers = [post(server, CHAT, **fields, stream=stream) for stream in (False, True, False)]
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert {answer.header("x-codexproxy-dropped") for answer in answers} == {"seed, stop"}
    assert post(server, CHAT, temperature=0).header("x-codexproxy-dropped") is None


def test_a_model_s_name_may_carry_its_effort(sim: Simulator, server: Server) -> None:
    listed = [model["id"] for model in send(server, "GET", "/v1/models").json()["data"]]
    assert {"gpt-5.5", "gpt-5.5-high"} <= set(listed)
    assert send(server, "GET", "/v1/models/gpt-5.5-high").json()["id"] == "gpt-5.5-high"
    for path in (CHAT, RESPONSES):
        assert post(server, path, model="gpt-5.5-high").status == 200
        sent = sim.responses()[-1].body
        assert (sent["model"], sent["reasoning"]["effort"]) == ("gpt-5.5", "high")
    assert server.wait_for_records(2)
    assert set(server.records("model, reasoning_effort")) == {("gpt-5.5", "high")}


def test_the_list_that_a_real_sdk_asks_for(server: Server) -> None:
    (recorded,) = json.loads(MODELS_LIST.read_text())["requests"]
    headers = {name: value for name, value in recorded["headers"] if name != "Host"}
    answer = send(server, recorded["method"], recorded["path"], headers=headers)
    listed = answer.json()
    assert (answer.status, listed["object"]) == (200, "list")
    assert {"id", "object", "created", "owned_by"} <= set(listed["data"][0])


def test_the_catalogue_for_codex_is_upstream_s_own(sim: Simulator, server: Server) -> None:
    answer = send(server, "GET", "/v1/models?client_version=0.169.0")
    assert answer.json() == {"models": sim.models}
    assert answer.header("etag")


def test_a_tool_s_result_goes_back_with_the_whole_output(sim: Simulator, client: openai.OpenAI) -> None:
    """The loop of OpenAI's own guide: the output is appended to the input as it came."""
    sim.accounts["first"].default = ToolCall(name="get_weather", arguments='{"city": "Oslo"}')
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: list[Any] = [
        {"type": "function", "name": "get_weather", "parameters": parameters, "strict": False}
    ]
    items: list[Any] = [{"role": "user", "content": "weather?"}]
    with client.responses.stream(model="gpt-5.5", input=items, tools=tools) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        first = stream.get_final_response()
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert "".join(deltas) == call.arguments == '{"city": "Oslo"}'
    items += first.output
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second = client.responses.create(model="gpt-5.5", input=items, tools=tools)
    assert second.output_text == "Hello from the simulator."
    assert sim.responses()[-1].body["input"][-1]["output"] == "sunny"
    assert sim.violations == []
