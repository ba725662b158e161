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


@pytest.mark.parametrize(("path", "body"), list(recorded()))
def test_a_recorded_request_is_taken_with_nothing_lost(path: str, body: dict[str, Any]) -> None:
    if is_stateful(body):
        with pytest.raises(BadRequest) as caught:
            upstream_body(path, body)
        assert caught.value.param == "previous_response_id"
        return
    sent = upstream_body(path, body)
    assert body_refusal(sent) is None
    everything = set(texts(sent)) | {line for text in texts(sent) for line in text.split("\n")}
    conversation = [body.get("messages"), body.get("input"), body.get("instructions"), body.get("tools")]
    lost = [text for text in texts(conversation) if text not in everything and text not in str(sent)]
    assert lost == []
    if not path.endswith("/chat/completions"):
        for field in body.keys() - NOT_UPSTREAM_S:
            assert sent[field] == body[field], field


def test_there_are_recordings_of_every_client() -> None:
    clients = {json.loads(file.read_text())["client"].split("/")[0] for file in FOLDER.glob("*.json")}
    assert len(list(recorded())) >= 25
    assert len(clients) >= 4, clients
