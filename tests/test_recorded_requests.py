"""What real clients sent, replayed: upstream's contract takes it, and nothing that it understands is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects.chat import read_chat_request
from proxy.dialects.codex import REFUSED_FIELDS, read_request
from proxy.dialects.responses import read_responses_request
from proxy.errors import BadRequest
from proxy.simulator.contract import body_refusal

FOLDER = Path(__file__).parent / "data" / "recorded"
# Where the two languages say the same with other words, or upstream does not take it.
REWORDED = {"type", "role", "id", "name"}
NOT_UPSTREAM_S = REFUSED_FIELDS | {"messages", "input", "instructions", "store", "stream", "stream_options"}


def recorded() -> Iterator[Any]:
    """Each recorded turn, as (path, body)."""
    for file in sorted(FOLDER.glob("*.json")):
        for number, request in enumerate(json.loads(file.read_text())["requests"]):
            path = request.get("path", "")
            if request.get("method") == "POST" and path.endswith(("/responses", "/chat/completions")):
                yield pytest.param(path, request["body"], id=f"{file.stem}-{number}")


def upstream_body(path: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(body).encode()
    if path.startswith("/backend-api"):
        sent = read_request(data).body
    elif path.endswith("/chat/completions"):
        sent = read_chat_request(data).responses.upstream.body
    else:
        sent = read_responses_request(data).upstream.body
    return json.loads(sent)  # type: ignore[no-any-return]


def texts(value: Any) -> Iterator[str]:
    """Every text in it, apart from those that name what it is."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in REWORDED:
                yield from texts(item)


def is_stateful(body: dict[str, Any]) -> bool:
    return body.get("previous_response_id") is not None


# A chat's fields that have their place upstream, and those that upstream takes no part of.
CHAT_FIELDS = {"model", "reasoning_effort", "tool_choice", "response_format", "tools", "messages"}
CHAT_DROPPED = {"max_tokens", "max_completion_tokens", "temperature", "stream", "stream_options"}
PARTS = {"text": "input_text", "image_url": "input_image", "file": "input_file"}


def chat_items(message: dict[str, Any]) -> Iterator[Any]:
    """What upstream is told of one message: its role with its parts' types, or the whole of a call."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}
    elif role == "assistant":
        if content:
            yield "assistant", ["output_text"]
        for call in message.get("tool_calls", []):
            yield {"type": "function_call", "call_id": call["id"], **call["function"]}
    elif role == "user":
        parts = [PARTS[part["type"]] for part in content] if isinstance(content, list) else ["input_text"]
        yield "user", parts


def responses_items(given: Any) -> Iterator[Any]:
    """The same for a Responses request; the texts of system and developer messages move elsewhere."""
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if item.get("type", "message") != "message":
            yield item
        elif item["role"] in ("user", "assistant"):
            plain = ["output_text" if item["role"] == "assistant" else "input_text"]
            content = item["content"]
            yield item["role"], plain if isinstance(content, str) else [part["type"] for part in content]


def chat_fields(body: dict[str, Any]) -> dict[str, Any]:
    """What upstream is told besides the messages."""
    assert body.keys() <= CHAT_FIELDS | CHAT_DROPPED, "a field that is not compared yet"
    told: dict[str, Any] = {"model": body["model"]}
    if "reasoning_effort" in body:
        told["reasoning"] = {"effort": body["reasoning_effort"]}
    if "tool_choice" in body:
        choice = body["tool_choice"]
        told["tool_choice"] = (
            choice if isinstance(choice, str) else {"type": "function", **choice["function"]}
        )
    if "response_format" in body:
        form = body["response_format"]
        told["text"] = {"format": {"type": form["type"], **form.get("json_schema", {})}}
    if "tools" in body:
        told["tools"] = [{"type": "function", "strict": False, **tool["function"]} for tool in body["tools"]]
    return told


def assert_nothing_lost(path: str, body: dict[str, Any], sent: dict[str, Any]) -> None:
    """Names, ids, types, roles, tools and fields are where upstream looks for them; texts are somewhere."""
    if path.startswith("/backend-api"):
        assert sent == {name: value for name, value in body.items() if name not in REFUSED_FIELDS}
        return
    everything = set(texts(sent)) | {line for text in texts(sent) for line in text.split("\n")}
    conversation = [body.get("messages"), body.get("input"), body.get("instructions"), body.get("tools")]
    lost = [text for text in texts(conversation) if text not in everything and text not in str(sent)]
    assert lost == []
    if path.endswith("/chat/completions"):
        items = [item for message in body["messages"] for item in chat_items(message)]
        fields = chat_fields(body)
    else:
        items = list(responses_items(body["input"]))
        fields = {name: body[name] for name in body.keys() - NOT_UPSTREAM_S}
    assert list(responses_items(sent["input"])) == items
    assert {name: sent[name] for name in fields} == fields


@pytest.mark.parametrize(("path", "body"), list(recorded()))
def test_a_recorded_request_is_taken_with_nothing_lost(path: str, body: dict[str, Any]) -> None:
    if is_stateful(body):
        with pytest.raises(BadRequest) as caught:
            upstream_body(path, body)
        assert caught.value.param == "previous_response_id"
        return
    sent = upstream_body(path, body)
    assert body_refusal(sent) is None
    assert_nothing_lost(path, body, sent)


def test_there_are_recordings_of_every_client() -> None:
    clients = {json.loads(file.read_text())["client"].split("/")[0] for file in FOLDER.glob("*.json")}
    assert len(list(recorded())) >= 25
    assert len(clients) >= 4, clients
