"""The real openai SDK against /v1."""

from __future__ import annotations

import json
import time

import openai
import pytest
from pydantic import BaseModel

from proxy.simulator import Fail, FailEvent, Incomplete, Ok, Simulator, ToolCall
from tests.e2e.conftest import Start


class Event(BaseModel):
    name: str
    n: int


def test_responses_are_created_streamed_and_parsed(sim: Simulator, client: openai.OpenAI) -> None:
    created = client.responses.create(
        model="gpt-5.5", input="hi", temperature=0.2, max_output_tokens=50, metadata={"a": "b"}, store=True
    )
    assert created.output_text == "Hello from the simulator."
    assert created.usage is not None
    assert created.usage.input_tokens == 100

    with client.responses.stream(model="gpt-5.5", input="hi") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "Hello from the simulator."
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert not [kind for kind in kinds if kind.startswith("codex.")]

    sim.accounts["first"].default = Ok(text=json.dumps({"name": "x", "n": 3}))
    parsed = client.responses.parse(model="gpt-5.5", input="hi", text_format=Event)
    assert parsed.output_parsed == Event(name="x", n=3)
    assert sim.violations == []


def test_an_answer_that_only_its_items_tell_is_streamed_and_parsed(
    sim: Simulator, client: openai.OpenAI
) -> None:
    sim.accounts["first"].default = Ok(text=json.dumps({"name": "x", "n": 3}), empty_output=True)
    with client.responses.stream(model="gpt-5.5", input="hi", text_format=Event) as stream:
        final = stream.until_done().get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output_parsed == Event(name="x", n=3)
    parsed = client.responses.parse(model="gpt-5.5", input="hi", text_format=Event)
    assert parsed.output_parsed == Event(name="x", n=3)
    assert sim.violations == []


def test_a_tool_call_comes_whole(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].default = ToolCall(command="ls", count=2)
    response = client.responses.create(model="gpt-5.5", input="run it")
    calls = [item for item in response.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"cmd": "ls"}] * 2
    assert sim.violations == []


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert "gpt-5.5" in listed
    assert client.models.retrieve("gpt-5.5").id == "gpt-5.5"
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.models.retrieve("no-such-model")


def test_a_fresh_start_lists_models_before_there_is_an_account(serve: Start) -> None:
    server = serve()
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="sk-any", max_retries=0) as client:
        assert "gpt-5.5" in [model.id for model in client.models.list()]


def test_each_refusal_is_the_right_exception_with_a_message(sim: Simulator, client: openai.OpenAI) -> None:
    account = sim.accounts["first"]
    cases = [
        (Fail.detail(400, "Bad thing"), openai.BadRequestError, "Bad thing"),
        (Fail.model_not_found("gpt-9"), openai.NotFoundError, "gpt-9"),
        (FailEvent.context_length(), openai.BadRequestError, "context"),
        (Fail.server_error(500), openai.InternalServerError, "500"),
        (Fail.forbidden_html(), openai.PermissionDeniedError, "403"),
        (Fail.usage_limit(resets_at=int(time.time()) + 1), openai.RateLimitError, "limit"),
    ]
    for reply, expected, text in cases:
        account.script(reply)
        with pytest.raises(expected, match=text) as caught:
            client.responses.create(model="gpt-5.5", input="hi")
        assert caught.value.request_id
    assert sim.violations == []


def test_an_incomplete_response_is_an_answer(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].script(Incomplete())
    assert client.responses.create(model="gpt-5.5", input="hi").status == "incomplete"


def test_a_reference_to_a_stored_response_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="gpt-5.5", input="hi", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


def test_a_conversation_stays_on_its_account(sim: Simulator, serve: Start) -> None:
    for name in ("first", "second", "third"):
        sim.add_account(name)
    server = serve()
    history: list[dict[str, str]] = [{"role": "user", "content": "the same beginning"}]
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="sk-any", max_retries=0) as client:
        for turn in range(4):
            answer = client.responses.create(model="gpt-5.5", input=history)  # type: ignore[arg-type]
            history += [
                {"role": "assistant", "content": answer.output_text},
                {"role": "user", "content": str(turn)},
            ]
    assert len({call.account_id for call in sim.responses()}) == 1
