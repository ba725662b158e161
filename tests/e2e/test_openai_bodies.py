"""Bodies from the schema of OpenAI's own client, whole and broken: each is answered, or a named mistake."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from proxy.simulator import Simulator
from tests.e2e.asking import send_over
from tests.e2e.conftest import Start
from tests.e2e.server import Server

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
# Refused whatever they hold, so that nothing behind them would be looked at.
REFUSED = ("audio", "functions", "function_call", "previous_response_id", "conversation", "background")
MODEL = "gpt-5.5"
ANSWER_S = 10.0


def body_schema(params: Any, content: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a request that says something, and the schemas that it refers to."""
    schema = TypeAdapter(params).json_schema(ref_template="#/components/schemas/{model}")
    components = schema.pop("$defs")
    fields = {name: given for name, given in schema["properties"].items() if name not in REFUSED}
    fields |= {"model": {"const": MODEL}, "stream": {"type": "boolean"}, "n": {"const": 1}}
    return {**schema, "properties": fields, "required": ["model", content]}, components


def described() -> Any:
    chat, chat_parts = body_schema(CompletionCreateParamsNonStreaming, "messages")
    responses, responses_parts = body_schema(ResponseCreateParamsNonStreaming, "input")
    del responses["properties"]["n"]
    chat["properties"]["messages"] = {**chat["properties"]["messages"], "minItems": 1}
    paths = {
        path: {
            "post": {
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": {"200": {"description": "an answer"}},
            }
        }
        for path, schema in ((CHAT, chat), (RESPONSES, responses))
    }
    info = {"title": "OpenAI's client", "version": "1"}
    components = {"schemas": chat_parts | responses_parts}
    return schemathesis.openapi.from_dict(
        {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}
    )


SCHEMA = described()


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("only")
    return serve()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_any_body_is_answered_or_named_a_mistake_and_nothing_hangs(
    path: str, mode: schemathesis.GenerationMode, sim: Simulator, server: Server
) -> None:
    answered: list[int] = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_S)) as connection:

        @examples(
            max_examples=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate),
        )
        @given(case=SCHEMA[path]["POST"].as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
            answer = send_over(connection, "POST", path, body, {"Content-Type": "application/json"})
            assert answer.status in (200, 400), (body, answer.body)
            assert answer.status == 200 or answer.error["message"], body
            assert answer.header("x-request-id")
            answered.append(answer.status)

        check()
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert answered.count(200) > 5, answered
    # Encrypted content that nobody has written is upstream's to refuse.
    refused = [call.body for call in sim.responses() if call.status != 200]
    assert [body for body in refused if b"encrypted_content" not in json.dumps(body).encode()] == []
    assert sim.violations == []
    assert server.log.count("Traceback") == 0
