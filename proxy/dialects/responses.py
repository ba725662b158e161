"""Pure: an OpenAI client's Responses request, made into upstream's shape."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.dialects.checks import (
    boolean,
    decoded_object,
    mapping,
    not_negative,
    one_of,
    sequence,
    text,
    wrong,
)
from proxy.dialects.codex import COMPACTION_TRIGGER, REFUSED_FIELDS, CodexRequest, files_in
from proxy.dialects.messages import (
    LIFTED_ROLES,
    ROLES,
    TEXT_PARTS,
    assistant_items,
    read_messages,
    tool_result,
)
from proxy.dialects.models import without_effort
from proxy.dialects.shapes import check_item, is_unreadable, part_of, shaped
from proxy.errors import BadRequest

# What a message of Chat Completions has besides, and Responses does not know.
CHAT_ONLY = frozenset({"name", "tool_calls", "function_call", "reasoning_content", "reasoning_details"})
_OMITTED_TIERS = frozenset({"auto", "default"})
_TIERS = {"fast": "priority"}
# Fields that upstream refuses are dropped silently, yet a nonsensical value is still the client's mistake.
_NOT_NEGATIVE = ("max_output_tokens", "temperature", "top_p", "top_logprobs", "max_tool_calls")


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """`upstream` is what goes out; `is_stream` is what the client asked for."""

    upstream: CodexRequest
    is_stream: bool
    has_derived_key: bool


def read_responses_request(
    body: bytes, key_owner: str = "", models: Collection[str] = ()
) -> ResponsesRequest:
    """Raises BadRequest with the `param` that is wrong.

    `key_owner` keeps derived keys of two keys apart; of `models` a name may have an effort behind it.
    """
    payload = decoded_object(body)
    for name in ("previous_response_id", "conversation"):
        if payload.get(name) is not None:
            raise BadRequest(
                "Nothing is stored here: send the whole conversation.",
                code="previous_response_not_found",
                param=name,
            )
    if boolean(payload, "background"):
        wrong("background", "nothing is stored here that could be asked for later.")
    is_stream = boolean(payload, "stream")
    for name in _NOT_NEGATIVE:
        not_negative(payload, name)
    left_out = REFUSED_FIELDS | {"messages"}
    request = shaped({name: value for name, value in payload.items() if name not in left_out})
    request["instructions"], request["input"] = _instructions_and_input(payload)
    return upstream_request(with_model(request, models), is_stream=is_stream, key_owner=key_owner)


def with_model(request: dict[str, Any], models: Collection[str]) -> dict[str, Any]:
    """The request with the model and the effort that its model's name stands for. Raises BadRequest."""
    given = request.get("model")
    if not isinstance(given, str) or not given.strip():
        raise BadRequest("The request names no model.", param="model")
    model, effort = without_effort(given.strip(), models)
    if effort is None:
        return {**request, "model": model}
    reasoning = request.get("reasoning")
    kept = reasoning if isinstance(reasoning, Mapping) else {}
    return {**request, "model": model, "reasoning": {**kept, "effort": effort}}


def upstream_request(request: dict[str, Any], *, is_stream: bool, key_owner: str) -> ResponsesRequest:
    """A request whose fields are upstream's already, with what every one of them carries."""
    given = request.get("prompt_cache_key")
    if given is not None:
        text(given, "prompt_cache_key")
    request["prompt_cache_key"] = given or derived_key(request, key_owner)
    request |= {"store": False, "stream": True}
    request.setdefault("include", [])
    reasoning = request.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    tier = request.get("service_tier")
    if isinstance(tier, str):
        tier = request["service_tier"] = _TIERS.get(tier, tier)
        if tier in _OMITTED_TIERS:
            del request["service_tier"]
    body = msgspec.json.encode(request)
    upstream = CodexRequest(
        body=body,
        model=request["model"],
        reasoning_effort=effort if isinstance(effort, str) else None,
        service_tier=tier if isinstance(tier, str) else "",
        prompt_cache_key=request["prompt_cache_key"],
        has_compaction=any(
            isinstance(item, Mapping) and item.get("type") == "compaction" and item.get("encrypted_content")
            for item in request["input"]
        ),
        makes_compaction=_is_trigger(request["input"][-1:]),
        files=files_in(body),
    )
    return ResponsesRequest(upstream, is_stream, has_derived_key=not given)


def _is_trigger(last: list[Any]) -> bool:
    return any(isinstance(item, Mapping) and item.get("type") == COMPACTION_TRIGGER for item in last)


def _instructions_and_input(payload: Mapping[str, Any]) -> tuple[str, list[Any]]:
    given = payload.get("instructions")
    instructions = [] if given is None else [text(given, "instructions")]
    if payload.get("messages") is not None:
        if payload.get("input") is not None:
            wrong("messages", "send either input or messages, not both.")
        found = read_messages(payload["messages"], audio_as_file=True)
        lifted, items = found.instructions, found.items
    else:
        lifted, items = _lifted(_input_items(payload))
    if lifted and _wants_json_object(payload):
        # Upstream looks for the word JSON in the input, and never in the instructions.
        items = [_message("developer", [{"type": "input_text", "text": "\n".join(lifted)}]), *items]
        lifted = []
    return "\n".join(part for part in instructions + lifted if part), items


def _wants_json_object(payload: Mapping[str, Any]) -> bool:
    style = payload.get("text")
    form = style.get("format") if isinstance(style, Mapping) else None
    return isinstance(form, Mapping) and form.get("type") == "json_object"


def _lifted(items: list[Any]) -> tuple[list[str], list[Any]]:
    """Texts of system and developer messages, and the items that are left."""
    if any(isinstance(item, Mapping) and item.get("type") == "additional_tools" for item in items):
        # Such a request carries its prompt as an item of its own: lifting it would tear it apart.
        return [], items
    lifted: list[str] = []
    kept: list[Any] = []
    for index, item in enumerate(items):
        if isinstance(item, Mapping) and item.get("type") == "message" and item["role"] in LIFTED_ROLES:
            texts, others = _split_texts(item["content"], f"input[{index}].content")
            lifted += texts
            if others:
                kept.append({"type": "message", "role": "user", "content": others})
        else:
            kept.append(item)
    return lifted, kept


def _input_items(payload: Mapping[str, Any]) -> list[Any]:
    given = payload.get("input")
    if given is None:
        wrong("input", "must be a text or a list of items.")
    if isinstance(given, str):
        return [_message("user", [{"type": "input_text", "text": given}])]
    items: list[Any] = []
    custom_calls: set[str] = set()
    for index, item in enumerate(sequence(given, "input")):
        items += _items(item, f"input[{index}]", custom_calls)
    return items


def _items(item: Any, where: str, custom_calls: set[str]) -> list[Any]:
    """What one entry of the input stands for; items of unknown types pass as they are."""
    if isinstance(item, str):
        return [_message("user", [{"type": "input_text", "text": item}])]
    item = mapping(item, where)
    if item.get("type") not in (None, "message"):
        check_item(item, where)
        if item["type"] == "custom_tool_call":
            custom_calls.add(item["call_id"])
        return [] if is_unreadable(item) else [item]
    role = one_of(item.get("role"), ROLES, f"{where}.role")
    if role == "tool":
        return [tool_result(item, where, custom_calls)]
    if role == "assistant" and item.get("tool_calls"):
        return assistant_items(item, where, custom_calls)
    if item.get("content") is None and role == "assistant":
        return []
    content = _content(item.get("content"), role, f"{where}.content")
    kept = {key: value for key, value in item.items() if key not in CHAT_ONLY}
    return [{**kept, "type": "message", "content": content}]


def _content(content: Any, role: str, where: str) -> list[Any]:
    """Parts with upstream's names; parts of unknown types pass as they are."""
    kind = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        return [{"type": kind, "text": content}]
    return [_part(part, kind, f"{where}[{index}]") for index, part in enumerate(sequence(content, where))]


def _part(part: Any, text_kind: str, where: str) -> Any:
    if isinstance(part, str):
        return {"type": text_kind, "text": part}
    return part_of(mapping(part, where), text_kind, where)


def _message(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _split_texts(content: list[Any], where: str) -> tuple[list[str], list[Any]]:
    texts, others = [], []
    for index, part in enumerate(content):
        if isinstance(part, Mapping) and str(part.get("type")) in TEXT_PARTS:
            texts.append(text(part.get("text"), f"{where}[{index}].text"))
        else:
            others.append(part)
    return texts, others


def derived_key(request: Mapping[str, Any], key_owner: str) -> str:
    """The same for every turn of a conversation, another for every other beginning.

    The whole of the first user's message counts: many begin with the same picture or the same long text.
    """
    first: Mapping[str, Any] = next((item for item in request["input"] if _is_user_s(item)), {})
    parts = (key_owner, request.get("model"), request.get("instructions"), first.get("content"))
    return "cp-" + hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _is_user_s(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("role") == "user"
