"""Pure: a request for a compaction, in the shape of upstream's endpoint for it and as a turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from proxy.dialects.codex import COMPACTION_TRIGGER, CodexRequest, decoded_fields, read_request
from proxy.dialects.responses import read_responses_request
from proxy.errors import BadRequest

_NOT_OF_COMPACT = frozenset({"store", "stream"})
# What is read into every request of /v1, and is of no use here.
_ADDED = frozenset({"include"})


@dataclass(frozen=True, slots=True)
class CompactRequest:
    upstream: CodexRequest
    has_derived_key: bool = False


def read_compact_request(body: bytes) -> CompactRequest:
    """Codex's own, touched only where it must be. Raises BadRequest."""
    return CompactRequest(_compact(read_request(body), _NOT_OF_COMPACT))


def read_v1_compact_request(body: bytes, key_owner: str = "", models: Collection[str] = ()) -> CompactRequest:
    """An OpenAI client's, read as its Responses request is. Raises BadRequest."""
    read = read_responses_request(body, key_owner, models)
    left_out = _NOT_OF_COMPACT | _ADDED
    if read.has_derived_key:
        left_out |= {"prompt_cache_key"}
    return CompactRequest(_compact(read.upstream, left_out), read.has_derived_key)


def _compact(request: CodexRequest, left_out: Collection[str]) -> CodexRequest:
    fields = decoded_fields(request.body)
    items = _items(fields)
    if items and _is_trigger(items[-1]):
        # Upstream's endpoint needs none; where there is no such endpoint it is put back.
        items.pop()
    for index, item in enumerate(items):
        if _is_trigger(item):
            param = f"input[{index}]"
            raise BadRequest("A compaction_trigger can only be the last item.", param=param)
    kept = {name: value for name, value in fields.items() if name not in left_out}
    return replace(request, body=msgspec.json.encode({**kept, "input": items}), makes_compaction=True)


def _items(fields: Mapping[str, msgspec.Raw]) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(fields.get("input", b""), type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        raise BadRequest("input must be a list of items.", param="input") from None


def _is_trigger(item: msgspec.Raw) -> bool:
    if COMPACTION_TRIGGER.encode() not in bytes(item):
        return False
    decoded = msgspec.json.decode(item)
    return isinstance(decoded, dict) and decoded.get("type") == COMPACTION_TRIGGER


def as_turn(body: bytes) -> bytes:
    """The same request as a turn whose answer is the compaction."""
    fields = decoded_fields(body)
    items = [*_items(fields), {"type": COMPACTION_TRIGGER}]
    return msgspec.json.encode({**fields, "input": items, "store": False, "stream": True})


def folded(response: Mapping[str, Any]) -> dict[str, Any] | None:
    """That turn's response as upstream's endpoint would have answered; None when there is no compaction."""
    output = response.get("output")
    items = [
        item
        for item in (output if isinstance(output, list) else [])
        if isinstance(item, dict) and item.get("type") == "compaction"
    ]
    if response.get("status") not in (None, "completed") or not items:
        return None
    return {
        "id": response.get("id"),
        "object": "response.compaction",
        "created_at": response.get("created_at"),
        "output": items,
        "usage": response.get("usage"),
    }
