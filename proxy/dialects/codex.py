"""Pure: Codex's own request, which is upstream's shape already; touched only where it must be."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from proxy.affinity import digest
from proxy.errors import BadRequest

# The ChatGPT backend answers 400 to each of these.
REFUSED_FIELDS = frozenset(
    {
        "max_output_tokens",
        "metadata",
        "prompt_cache_retention",
        "safety_identifier",
        "temperature",
        "top_p",
        "truncation",
        "user",
    }
)

# The last item of a request for a compaction.
COMPACTION_TRIGGER = "compaction_trigger"

_FILE = re.compile(rb'"file_id"\s*:\s*"([\w-]{1,200})"|"sediment://([\w-]{1,200})"', re.A)
# How many files of one request are looked up.
_FILES = 16
# What makes a request worth a closer look. A long body is searched once for all of it.
_MARKS = re.compile(rb'"(?:file_id"|sediment://|compaction)')

_FALSE, _TRUE, _NULL = msgspec.Raw(b"false"), msgspec.Raw(b"true"), msgspec.Raw(b"null")
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class _Reasoning(msgspec.Struct):
    effort: Any = None


class _Item(msgspec.Struct):
    type: Any = None
    encrypted_content: Any = None


@dataclass(slots=True)
class CodexRequest:
    """What was read of a request. `body` goes upstream, and is let go when an account serves: a request may
    be megabytes, its answer may take an hour.
    """

    body: bytes
    model: str
    reasoning_effort: str | None
    service_tier: str
    prompt_cache_key: str | None
    has_compaction: bool
    # The answer will be a compaction item.
    makes_compaction: bool = False
    # The model that the client has asked for, where it is a tool of `model`.
    known_as: str = ""
    # Files that were uploaded to one account before.
    files: tuple[str, ...] = ()
    # Over a websocket a turn may go on from an earlier response, which its connection knows.
    previous_response_id: str = ""
    # In bytes, of the body as it was.
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.body)

    def let_go(self) -> None:
        """Nobody will be asked any more."""
        self.body = b""


def read_request(body: bytes) -> CodexRequest:
    """Parse once, force what must be forced, leave everything else as it came. Raises BadRequest."""
    fields = decoded_fields(body)
    if fields.get("previous_response_id", _NULL) != _NULL:
        raise _not_stored("previous_response_id")
    return understood(body, fields)


def understood(body: bytes, fields: dict[str, msgspec.Raw]) -> CodexRequest:
    """A request of these fields. Raises BadRequest."""
    if fields.get("conversation", _NULL) != _NULL:
        raise _not_stored("conversation")
    model = _text(fields, "model")
    if not model:
        raise BadRequest("The request names no model.", param="model")
    # A search spares nearly all requests a look at each of their items.
    is_marked = _MARKS.search(body) is not None
    items = _items(fields) if is_marked and b'"compaction' in body else []
    return CodexRequest(
        body=_forced(body, fields),
        model=model,
        reasoning_effort=_effort(fields),
        service_tier=_text(fields, "service_tier") or "",
        prompt_cache_key=_text(fields, "prompt_cache_key"),
        has_compaction=any(item.type == "compaction" and item.encrypted_content for _, item in items),
        makes_compaction=bool(items) and items[-1][1].type == COMPACTION_TRIGGER,
        files=files_in(body) if is_marked else (),
    )


def decoded_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The values as their own bytes. Raises BadRequest."""
    try:
        if not body.isascii():
            # The values stay raw, so nobody else would notice text that is not UTF-8.
            body.decode()
        return _object_decoder.decode(body)
    except msgspec.ValidationError:
        raise BadRequest("The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None


def _not_stored(field: str) -> BadRequest:
    return BadRequest(
        "Nothing is stored here: send the whole conversation.",
        code="previous_response_not_found",
        param=field,
    )


def _forced(body: bytes, fields: dict[str, msgspec.Raw]) -> bytes:
    """`store: false, stream: true`, no refused fields; the same bytes when that holds already."""
    refused = REFUSED_FIELDS & fields.keys()
    if not refused and fields.get("store") == _FALSE and fields.get("stream") == _TRUE:
        return body
    kept = {name: value for name, value in fields.items() if name not in refused}
    return msgspec.json.encode({**kept, "store": _FALSE, "stream": _TRUE})


def with_enforced(
    request: CodexRequest, *, model: str = "", effort: str = "", tier: str | None = None
) -> CodexRequest:
    """A copy that asks for these; "" leaves what was asked, the tier only with None ("" asks for none)."""
    fields: dict[str, Any] = dict(decoded_fields(request.body))
    if model:
        fields["model"] = model
    if effort:
        reasoning = plain_value(fields.get("reasoning"))
        fields["reasoning"] = {**(reasoning if isinstance(reasoning, dict) else {}), "effort": effort}
    if tier is not None:
        fields.pop("service_tier", None)
        if tier:
            fields["service_tier"] = tier
    return replace(
        request,
        body=msgspec.json.encode(fields),
        model=model or request.model,
        reasoning_effort=effort or request.reasoning_effort,
        service_tier=request.service_tier if tier is None else tier,
    )


def _text(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    value = plain_value(fields.get(name))
    return value if isinstance(value, str) else None


def _effort(fields: dict[str, msgspec.Raw]) -> str | None:
    raw = fields.get("reasoning")
    if raw is None:
        return None
    try:
        effort = msgspec.json.decode(raw, type=_Reasoning).effort
    except msgspec.MsgspecError:
        return None
    return effort if isinstance(effort, str) else None


def plain_value(raw: msgspec.Raw | None) -> Any:
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return None


def files_in(body: bytes) -> tuple[str, ...]:
    """Inside a text the quotes would be escaped; an id that nobody has uploaded here changes nothing."""
    if b'"file_id"' not in body and b'"sediment://' not in body:
        return ()
    found = {first or second for first, second in _FILE.findall(body)}
    return tuple(sorted(file_id.decode() for file_id in found))[:_FILES]


def _items(fields: dict[str, msgspec.Raw]) -> list[tuple[msgspec.Raw, _Item]]:
    """The input's items, each as its own bytes and what is looked at of it."""
    raw = fields.get("input")
    if raw is None:
        return []
    try:
        parts = _list_decoder.decode(raw)
    except msgspec.MsgspecError:
        return []
    found = []
    for part in parts:
        try:
            found.append((part, msgspec.json.decode(part, type=_Item)))
        except msgspec.MsgspecError:
            found.append((part, _Item()))
    return found


def reasoning_digests(body: bytes) -> frozenset[bytes]:
    """What names the encrypted reasoning items of a request."""
    if b'"encrypted_content"' not in body:
        return frozenset()
    return frozenset(
        digest(item.encrypted_content) for _, item in _items(decoded_fields(body)) if _is_reasoning(item)
    )


def without_reasoning(body: bytes, foreign: Collection[bytes] | None = None) -> bytes:
    """A copy without the encrypted reasoning items: all of them, or those whose digest is in `foreign`."""

    def is_dropped(item: _Item) -> bool:
        return _is_reasoning(item) and (foreign is None or digest(item.encrypted_content) in foreign)

    return _filtered(body, is_dropped)


def _is_reasoning(item: _Item) -> bool:
    return (
        item.type == "reasoning" and isinstance(item.encrypted_content, str) and bool(item.encrypted_content)
    )


def _filtered(body: bytes, is_dropped: Callable[[_Item], bool]) -> bytes:
    if b'"encrypted_content"' not in body:
        return body
    fields = decoded_fields(body)
    items = _items(fields)
    kept = [raw for raw, item in items if not is_dropped(item)]
    if len(kept) == len(items):
        return body
    return msgspec.json.encode({**fields, "input": kept})
