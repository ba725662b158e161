"""docs/compatibility.md against the code, and against the fields that OpenAI's own client knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from proxy import endpoint
from proxy.dialects.chat import read_chat_request
from proxy.dialects.responses import read_responses_request
from proxy.errors import BadRequest
from proxy.outcomes import status_for

PAGE = (Path(__file__).parent.parent / "docs" / "compatibility.md").read_text()
HI = [{"role": "user", "content": "hi"}]
FUNCTION = {"type": "function", "function": {"name": "f"}}
# A value of the right shape for each field that does not take a text.
VALUES: dict[str, Any] = {
    "background": True,
    "input": HI,
    "max_completion_tokens": 5,
    "max_output_tokens": 5,
    "max_tokens": 5,
    "max_tool_calls": 5,
    "messages": HI,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low"},
    "response_format": {"type": "text"},
    "store": True,
    "stream": False,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "text": {"verbosity": "low"},
    "tool_choice": "auto",
    "tools": [FUNCTION],
    "top_logprobs": 1,
    "top_p": 1,
    "web_search_options": {},
}


def rows(section: str) -> dict[str, str]:
    """field → state of one table."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].startswith("`"):
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[1]), cells[2])
    return found


def responses_state(field: str) -> str:
    value = VALUES.get(field, "x")
    body = {"model": "gpt-5.5", "input": "hi", field: value}
    if field == "messages":
        del body["input"]
    try:
        sent = json.loads(read_responses_request(json.dumps(body).encode()).upstream.body)
    except BadRequest:
        return "refused"
    if field not in sent:
        return "translated" if field == "messages" else "dropped"
    return "forced" if field in ("store", "stream") else "passed"


def chat_state(field: str) -> str:
    body = {"model": "gpt-5.5", "messages": HI, field: VALUES.get(field, "x")}
    try:
        request = read_chat_request(json.dumps(body).encode())
    except BadRequest:
        return "refused"
    if field in request.dropped:
        return "named"
    plain = read_chat_request(json.dumps({"model": "gpt-5.5", "messages": HI}).encode())
    sent, without = (json.loads(each.responses.upstream.body) for each in (request, plain))
    return "translated" if sent != without or field in NEUTRAL else "dropped"


# What is read, yet changes nothing of what goes upstream.
NEUTRAL = {"messages", "n", "stream", "stream_options"}


@pytest.mark.parametrize("field", sorted(ResponseCreateParamsStreaming.__annotations__))
def test_each_field_of_responses_is_documented(field: str) -> None:
    assert field in rows("Responses")


@pytest.mark.parametrize("field", sorted(CompletionCreateParamsStreaming.__annotations__))
def test_each_field_of_chat_is_documented(field: str) -> None:
    assert field in rows("Chat Completions")


@pytest.mark.parametrize(("field", "state"), sorted(rows("Responses").items()))
def test_a_field_of_responses_is_what_the_page_says(field: str, state: str) -> None:
    # What is translated may well pass as it is when it has upstream's form already.
    found = responses_state(field)
    assert found == state or (found == "passed" and state == "translated")


@pytest.mark.parametrize(("field", "state"), sorted(rows("Chat Completions").items()))
def test_a_field_of_chat_is_what_the_page_says(field: str, state: str) -> None:
    if field == "model":
        return
    assert chat_state(field) == state


def test_each_served_endpoint_is_on_the_page() -> None:
    served = {f"{method} {path}" for path, methods in endpoint._ROUTES.items() for method in methods}
    assert [one for one in sorted(served) if " /v1" in one and f"`{one}`" not in PAGE] == []


def test_each_status_is_what_the_page_says() -> None:
    text = PAGE.split("\n## Errors\n")[1]
    table = re.findall(r"^\| (.+) \| (\d{3}) \|$", text, re.M)
    assert len(table) == 7
    for codes, status in table:
        for code in re.findall(r"`([^`]+)`", codes) or ["no_such_code"]:
            assert status_for({"code": code}) == int(status)
            assert status_for({"type": code.upper()}) == int(status)
