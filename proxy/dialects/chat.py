"""Pure: a Chat Completions request, made into upstream's shape. Only what is mapped goes out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.dialects.checks import boolean, decoded_object, mapping, not_negative, sequence, text, wrong
from proxy.dialects.messages import read_messages
from proxy.dialects.responses import ResponsesRequest, upstream_request, with_model
from proxy.dialects.tools import WEB_SEARCH, read_response_format, read_tool_choice, read_tools, web_search

# Fields that mean something here.
MAPPED = frozenset(
    {
        "messages", "model", "n", "parallel_tool_calls", "prompt_cache_key", "reasoning", "reasoning_effort",
        "response_format", "service_tier", "stream", "stream_options", "tool_choice", "tools", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
# Without meaning at the ChatGPT backend, and nothing that a client would miss in the answer.
SILENT = frozenset(
    {
        "metadata", "modalities", "moderation", "prompt_cache_options", "prompt_cache_retention",
        "safety_identifier", "store", "temperature", "top_p", "user",
    }
)  # fmt: skip
# Cannot be honoured, and changing them in silence would be a lie.
REFUSED = {
    "audio": "Audio answers are not supported.",
    "function_call": "function_call is the retired form: use tool_choice.",
    "functions": "functions is the retired form: use tools.",
    "input": "Send messages here; a request with input belongs to /v1/responses.",
}
_NOT_NEGATIVE = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_logprobs")
_FIELD_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# So many fields are named in the answer's header.
_NAMED_FIELDS = 20


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`dropped`: the fields that could not be kept, for the client to be told."""

    responses: ResponsesRequest
    include_usage: bool
    dropped: tuple[str, ...]


def read_chat_request(body: bytes, key_owner: str = "", models: Collection[str] = ()) -> ChatRequest:
    """Raises BadRequest with the `param` that is wrong; `key_owner` and `models` as for Responses."""
    payload = {key: value for key, value in decoded_object(body).items() if value is not None}
    for field, message in REFUSED.items():
        if field in payload:
            wrong(field, message)
    for field in _NOT_NEGATIVE:
        not_negative(payload, field)
    if payload.get("n", 1) != 1 or isinstance(payload.get("n"), bool):
        wrong("n", "only one answer at a time is supported.")
    if "audio" in sequence(payload.get("modalities", []), "modalities"):
        wrong("modalities", "Audio answers are not supported.")
    is_stream = boolean(payload, "stream")
    request = with_model(_upstream_fields(payload), models)
    return ChatRequest(
        responses=upstream_request(request, is_stream=is_stream, key_owner=key_owner),
        include_usage=_includes_usage(payload.get("stream_options")) and is_stream,
        dropped=_dropped(payload),
    )


def _upstream_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    found = read_messages(payload.get("messages"))
    form = read_response_format(payload["response_format"]) if "response_format" in payload else None
    request: dict[str, Any] = {"model": payload.get("model")}
    if form is not None and form["type"] == "json_object":
        # Upstream looks for the word JSON in the input, and never in the instructions.
        request["instructions"] = ""
        request["input"] = [_developer(text) for text in found.instructions] + found.items
    else:
        request["instructions"], request["input"] = "\n".join(found.instructions), found.items
    for name in ("prompt_cache_key", "service_tier"):
        if name in payload:
            request[name] = text(payload[name], name)
    request |= _tool_fields(payload) | _style_fields(payload, form)
    return request


def _developer(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]}


def _tool_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    tools = read_tools(payload["tools"]) if "tools" in payload else []
    options = payload.get("web_search_options")
    if options is not None and not any(tool["type"] in WEB_SEARCH for tool in tools):
        tools.append(web_search(mapping(options, "web_search_options")))
    if tools or "tools" in payload:
        fields["tools"] = tools
    if "tool_choice" in payload:
        fields["tool_choice"] = read_tool_choice(payload["tool_choice"])
    if "parallel_tool_calls" in payload:
        fields["parallel_tool_calls"] = boolean(payload, "parallel_tool_calls")
    return fields


def _style_fields(payload: Mapping[str, Any], form: dict[str, Any] | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    reasoning = dict(mapping(payload.get("reasoning", {}), "reasoning"))
    if "reasoning_effort" in payload:
        reasoning.setdefault("effort", text(payload["reasoning_effort"], "reasoning_effort"))
    if reasoning:
        fields["reasoning"] = reasoning
    style: dict[str, Any] = {"format": form} if form is not None else {}
    if "verbosity" in payload:
        style["verbosity"] = text(payload["verbosity"], "verbosity")
    if style:
        fields["text"] = style
    return fields


def _includes_usage(options: Any) -> bool:
    return options is not None and boolean(mapping(options, "stream_options"), "include_usage")


def _dropped(payload: Mapping[str, Any]) -> tuple[str, ...]:
    names = sorted(name for name in payload if name not in MAPPED | SILENT and _FIELD_NAME.fullmatch(name))
    return tuple(names[:_NAMED_FIELDS])
