"""docs/compatibility.md against the code, and against the fields that OpenAI's own client knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openai.types.audio.transcription_create_params import TranscriptionCreateParamsStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.image_edit_params import ImageEditParamsStreaming
from openai.types.image_generate_params import ImageGenerateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from proxy import endpoint
from proxy.dialects.chat import read_chat_request
from proxy.dialects.images import read_generation
from proxy.dialects.responses import read_responses_request
from proxy.dialects.transcription import read_v1_transcription
from proxy.errors import BadRequest
from proxy.multipart import Part, read_multipart, written_multipart
from proxy.outcomes import STATUS_BY_CODE, status_for

PAGE = (Path(__file__).parent.parent / "docs" / "compatibility.md").read_text()
HI = [{"role": "user", "content": "hi"}]
FUNCTION = {"type": "function", "function": {"name": "f"}}
# A value of the right shape for each field that does not take a text.
VALUES: dict[str, Any] = {
    "background": True,
    "include": ["x"],
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


@pytest.mark.parametrize("known", [ImageGenerateParamsStreaming, ImageEditParamsStreaming])
def test_each_field_of_images_is_documented(known: type) -> None:
    assert [field for field in known.__annotations__ if field not in rows("Images")] == []


def test_each_field_of_transcriptions_is_documented() -> None:
    known = TranscriptionCreateParamsStreaming.__annotations__
    assert [field for field in known if field not in rows("Transcriptions")] == []


OF_EDITS = {"image", "mask", "images[].image_url", "mask.image_url", "input_fidelity"}


@pytest.mark.parametrize(("field", "state"), sorted(rows("Images").items()))
def test_a_field_of_images_is_what_the_page_says(field: str, state: str) -> None:
    if field not in OF_EDITS:
        # The rest is the same for generations and edits.
        assert images_state(field) == state


IMAGE_VALUES: dict[str, Any] = {
    "background": "opaque",
    "complexity": "low",
    "model": "gpt-image-1.5",
    "moderation": "low",
    "output_format": "webp",
    "prompt": "x",
    "quality": "low",
    "response_format": "b64_json",
    "size": "1024x1024",
    "stream": True,
}
# What is read, yet is no field of the tool.
OF_NO_TOOL = {"n", "prompt", "response_format", "stream"}


def images_state(field: str) -> str:
    given = {"prompt": "x", "stream": True, field: IMAGE_VALUES.get(field, 1)}
    request = read_generation(json.dumps(given).encode(), "gpt-5.5")
    if field in request.dropped:
        return "named"
    tool = json.loads(request.upstream.body)["tools"][0]
    return "translated" if field in tool or field in OF_NO_TOOL else "dropped"


@pytest.mark.parametrize(("field", "state"), sorted(rows("Transcriptions").items()))
def test_a_field_of_transcriptions_is_what_the_page_says(field: str, state: str) -> None:
    given = {"file": "x", "model": "gpt-4o-transcribe", field: AUDIO_VALUES.get(field, "x")}
    parts = [Part(name, text.encode(), "a.wav" if name == "file" else None) for name, text in given.items()]
    body, kind = written_multipart(parts)
    try:
        request = read_v1_transcription(body, kind.decode())
    except BadRequest:
        assert state == "refused"
        return
    assert (field in request.dropped) == (state == "named")
    names = {part.name for part in read_multipart(request.body, request.content_type.decode())}
    assert (field in names) == (state == "passed")


AUDIO_VALUES = {"model": "gpt-4o-transcribe", "response_format": "text", "stream": "true"}


def test_each_served_endpoint_is_on_the_page() -> None:
    served = {f"{method} {path}" for path, methods in endpoint._ROUTES.items() for method in methods}
    assert [one for one in sorted(served) if " /v1" in one and f"`{one}`" not in PAGE] == []


def test_each_status_is_what_the_page_says_and_the_page_says_all() -> None:
    text = PAGE.split("\n## Errors\n")[1]
    table = re.findall(r"^\| (.+) \| (\d{3}) \|$", text, re.M)
    told = {code: int(status) for codes, status in table for code in re.findall(r"`([^`]+)`", codes)}
    assert told == STATUS_BY_CODE
    for code, status in told.items():
        assert status_for({"code": code}) == status_for({"type": code.upper()}) == status
    (others,) = [int(status) for codes, status in table if codes == "anything else"]
    assert status_for({"code": "no_such_code"}) == status_for({}) == others
