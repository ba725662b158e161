"""Pure: an OpenAI client's Responses request, made into upstream's shape."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.dialects.codex import REFUSED_FIELDS, CodexRequest
from proxy.errors import BadRequest

_LIFTED_ROLES = frozenset({"system", "developer"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_OMITTED_TIERS = frozenset({"auto", "default"})
_TIERS = {"fast": "priority"}
_RENAMED_TOOLS = {"web_search_preview": "web_search"}
# Fields that upstream refuses are dropped silently, yet a nonsensical value is still the client's mistake.
_POSITIVE = ("max_output_tokens",)
# How much of the beginning tells one conversation from another.
_KEY_TEXT = 512


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """`upstream` is what goes out; `is_stream` is what the client asked for."""

    upstream: CodexRequest
    is_stream: bool
    has_derived_key: bool


def read_responses_request(body: bytes, key_owner: str = "") -> ResponsesRequest:
    """Raises BadRequest with the `param` that is wrong. `key_owner` keeps derived keys of two keys apart."""
    payload = decoded_object(body)
    for name in ("previous_response_id", "conversation"):
        if payload.get(name) is not None:
            raise BadRequest(
                "Nothing is stored here: send the whole conversation.",
                code="previous_response_not_found",
                param=name,
            )
    is_stream = boolean(payload, "stream")
    for name in _POSITIVE:
        positive(payload, name)
    request = {name: value for name, value in payload.items() if name not in REFUSED_FIELDS}
    request["instructions"], request["input"] = _instructions_and_input(payload)
    _rename(request)
    return upstream_request(request, is_stream=is_stream, key_owner=key_owner)


def upstream_request(request: dict[str, Any], *, is_stream: bool, key_owner: str) -> ResponsesRequest:
    """A request whose fields are upstream's already, with what every one of them carries."""
    model = request.get("model")
    if not isinstance(model, str) or not model.strip():
        raise BadRequest("The request names no model.", param="model")
    given = request.get("prompt_cache_key")
    if given is not None and not isinstance(given, str):
        raise BadRequest("prompt_cache_key must be a text.", param="prompt_cache_key")
    request["prompt_cache_key"] = given or derived_key(request, key_owner)
    request |= {"store": False, "stream": True}
    request.setdefault("include", [])
    reasoning = request.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    tier = request.get("service_tier")
    upstream = CodexRequest(
        body=msgspec.json.encode(request),
        model=model,
        reasoning_effort=effort if isinstance(effort, str) else None,
        service_tier=tier if isinstance(tier, str) else "",
        prompt_cache_key=request["prompt_cache_key"],
        has_compaction=any(
            isinstance(item, Mapping) and item.get("type") == "compaction" and item.get("encrypted_content")
            for item in request["input"]
        ),
    )
    return ResponsesRequest(upstream, is_stream, has_derived_key=not given)


def decoded_object(body: bytes) -> dict[str, Any]:
    """Raises BadRequest for what is no JSON object."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    if not isinstance(payload, dict):
        raise BadRequest("The request body must be a JSON object.")
    return payload


def boolean(payload: Mapping[str, Any], name: str) -> bool:
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false.", param=name)
    return bool(value)


def positive(payload: Mapping[str, Any], name: str) -> None:
    value = payload.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise BadRequest(f"{name} must be a number that is not negative.", param=name)


def _instructions_and_input(payload: Mapping[str, Any]) -> tuple[str, list[Any]]:
    given = payload.get("instructions")
    if given is not None and not isinstance(given, str):
        raise BadRequest("instructions must be a text.", param="instructions")
    items = _input_items(payload)
    if any(isinstance(item, Mapping) and item.get("type") == "additional_tools" for item in items):
        # Such a request carries its prompt as an item of its own: lifting it would tear it apart.
        return given or "", items
    lifted: list[str] = [given] if given else []
    kept: list[Any] = []
    for index, item in enumerate(items):
        if isinstance(item, Mapping) and item.get("type") == "message" and item["role"] in _LIFTED_ROLES:
            texts, others = _split_texts(item["content"], f"input[{index}].content")
            lifted += texts
            if others:
                kept.append({"type": "message", "role": "user", "content": others})
        else:
            kept.append(item)
    return "\n".join(lifted), kept


def _input_items(payload: Mapping[str, Any]) -> list[Any]:
    if payload.get("input") is None:
        raise BadRequest("The request has no input.", param="input")
    given = payload["input"]
    if isinstance(given, str):
        return [_message("user", [{"type": "input_text", "text": given}])]
    if not isinstance(given, list):
        raise BadRequest("input must be a text or a list of items.", param="input")
    return [_item(item, f"input[{index}]") for index, item in enumerate(given)]


def _item(item: Any, where: str) -> Any:
    """An item with its type; unknown types pass as they are."""
    if isinstance(item, str):
        return _message("user", [{"type": "input_text", "text": item}])
    if not isinstance(item, dict):
        raise BadRequest(f"{where} must be an object.", param=where)
    if item.get("type") not in (None, "message"):
        return item
    role = item.get("role")
    if not isinstance(role, str) or not role:
        raise BadRequest(f"{where} has neither a type nor a role.", param=where)
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    if not isinstance(content, list):
        raise BadRequest(f"{where}.content must be a text or a list of parts.", param=f"{where}.content")
    for index, part in enumerate(content):
        if isinstance(part, Mapping) and part.get("type") == "input_file" and part.get("file_id"):
            param = f"{where}.content[{index}].file_id"
            raise BadRequest("file_id is not supported: send file_data or file_url.", param=param)
    return {**item, "type": "message", "content": content}


def _message(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _split_texts(content: list[Any], where: str) -> tuple[list[str], list[Any]]:
    texts, others = [], []
    for index, part in enumerate(content):
        if isinstance(part, Mapping) and str(part.get("type")) in _TEXT_PARTS:
            if not isinstance(part.get("text"), str):
                raise BadRequest("A text part has no text.", param=f"{where}[{index}].text")
            texts.append(part["text"])
        else:
            others.append(part)
    return texts, others


def _rename(request: dict[str, Any]) -> None:
    tier = request.get("service_tier")
    if isinstance(tier, str):
        request["service_tier"] = _TIERS.get(tier, tier)
        if tier in _OMITTED_TIERS:
            del request["service_tier"]
    tools = request.get("tools")
    if isinstance(tools, list):
        request["tools"] = [_renamed_tool(tool) for tool in tools]
    choice = request.get("tool_choice")
    if isinstance(choice, str):
        request["tool_choice"] = _RENAMED_TOOLS.get(choice, choice)
    else:
        request["tool_choice"] = _renamed_tool(choice)
        if choice is None:
            del request["tool_choice"]


def _renamed_tool(tool: Any) -> Any:
    if isinstance(tool, Mapping) and str(tool.get("type")) in _RENAMED_TOOLS:
        return {**tool, "type": _RENAMED_TOOLS[str(tool["type"])]}
    return tool


def derived_key(request: Mapping[str, Any], key_owner: str) -> str:
    """The same for every turn of a conversation, another for every other beginning."""
    first = next((text for item in request["input"] if (text := _user_text(item))), "")
    parts = (
        key_owner,
        str(request.get("model")),
        str(request.get("instructions"))[:_KEY_TEXT],
        first[:_KEY_TEXT],
    )
    return "cp-" + hashlib.sha256("\x00".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _user_text(item: Any) -> str:
    if not isinstance(item, Mapping) or item.get("role") != "user":
        return ""
    parts = item.get("content")
    if not isinstance(parts, list):
        return ""
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
