"""Pure: puts the tool calls of a chat answer together, however upstream names and interleaves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_ITEM_KINDS = {"function_call": "function", "custom_tool_call": "custom"}
_TEXT_OF = {"function": "arguments", "custom": "input"}


@dataclass(slots=True)
class ToolCall:
    """One call. Its parts are a function's arguments or a custom tool's input, as far as told."""

    index: int
    kind: str = "function"
    call_id: str = ""
    name: str = ""
    parts: list[str] = field(default_factory=list)
    # What a finished item said of the whole text; told at the end as far as it is missing.
    snapshot: str = ""
    is_announced: bool = False
    # The index that upstream gave, if it gave one.
    number: int | None = None

    def may_be(self, number: int | None) -> bool:
        return number is None or self.number in (None, number)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def whole(self) -> dict[str, Any]:
        """The call as a complete message has it."""
        body = {"name": self.name, _TEXT_OF[self.kind]: self.text}
        return {"id": self.call_id, "type": self.kind, self.kind: body}


@dataclass(frozen=True, slots=True)
class Fragment:
    """What is new of a call: `is_first` comes with its id and name."""

    call: ToolCall
    text: str
    is_first: bool

    def delta(self) -> dict[str, Any]:
        body: dict[str, Any] = {_TEXT_OF[self.call.kind]: self.text}
        if not self.is_first:
            return {"index": self.call.index, self.call.kind: body}
        named = {"name": self.call.name} | body
        return {
            "index": self.call.index,
            "id": self.call.call_id,
            "type": self.call.kind,
            self.call.kind: named,
        }


@dataclass(frozen=True, slots=True)
class _Said:
    """What one event, or one entry of its list of calls, says of one call."""

    aliases: tuple[tuple[str, Any], ...]
    index: int | None = None
    kind: str = ""
    call_id: str = ""
    name: str = ""
    delta: str = ""
    snapshot: str = ""
    is_done: bool = False


@dataclass(slots=True)
class ToolCalls:
    """Sans-IO: fed with decoded events, it says what is new of which call.

    A call is known by its explicit index, else by its place in the output, its item's id, its own id, its
    name; a fragment with none of these belongs to the call that was touched last. Only deltas are text;
    what finished items say is told as far as it is missing.
    """

    _calls: list[ToolCall] = field(default_factory=list)
    _by_alias: dict[tuple[str, Any], ToolCall] = field(default_factory=dict)
    _last: ToolCall | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, event: Mapping[str, Any]) -> list[Fragment]:
        return [fragment for said in _said(event) for fragment in self._told(said)]

    def finish(self) -> list[Fragment]:
        """What only finished items told."""
        return [fragment for call in self._calls for fragment in self._missing(call)]

    def whole(self) -> list[dict[str, Any]]:
        """All calls, in the order of their indexes."""
        self.finish()
        return [call.whole() for call in sorted(self._calls, key=lambda call: call.index)]

    def _told(self, said: _Said) -> list[Fragment]:
        call = self._call(said)
        call.call_id, call.name = call.call_id or said.call_id, call.name or said.name
        if said.kind and not call.is_announced:
            call.kind = said.kind
        if said.snapshot:
            call.snapshot = said.snapshot
        if said.is_done:
            return self._missing(call)
        if not said.delta and call.is_announced:
            return []
        return [_fragment(call, said.delta)]

    def _missing(self, call: ToolCall) -> list[Fragment]:
        told = call.text
        rest = call.snapshot[len(told) :] if call.snapshot.startswith(told) else ""
        return [_fragment(call, rest)] if rest or not call.is_announced else []

    def _call(self, said: _Said) -> ToolCall:
        known = (self._by_alias[alias] for alias in said.aliases if alias in self._by_alias)
        # Upstream may give every call the same place in the output: an index that differs says more.
        call = next((call for call in known if call.may_be(said.index)), None)
        if call is None and not said.aliases and self._last is not None:
            call = self._last
        if call is None:
            call = ToolCall(self._free_index() if said.index is None else said.index)
            self._calls.append(call)
        call.number = said.index if call.number is None else call.number
        for alias in said.aliases:
            self._by_alias.setdefault(alias, call)
        self._last = call
        return call

    def _free_index(self) -> int:
        return 1 + max((call.index for call in self._calls), default=-1)


def _fragment(call: ToolCall, text: str) -> Fragment:
    is_first, call.is_announced = not call.is_announced, True
    # A client must be able to name the call in its answer.
    call.call_id = call.call_id or f"call_{call.index}"
    call.parts.append(text)
    return Fragment(call, text, is_first)


def _said(event: Mapping[str, Any]) -> Iterator[_Said]:
    """What an event says of calls; nothing for one that is about something else."""
    kind = event.get("type")
    if not isinstance(kind, str):
        return
    item = event.get("item")
    if isinstance(item, Mapping) and kind.startswith("response.output_item."):
        yield from _item_said(item, event, is_done=kind.endswith(".done"))
    elif "function_call" in kind or "tool_call" in kind:
        is_done = kind.endswith(".done")
        listed = event.get("tool_calls")
        if isinstance(listed, list):
            yield from (_entry_said(entry, is_done) for entry in listed if isinstance(entry, Mapping))
        else:
            yield _event_said(event, is_done)


def _item_said(item: Mapping[str, Any], event: Mapping[str, Any], *, is_done: bool) -> Iterator[_Said]:
    kind = _ITEM_KINDS.get(str(item.get("type")))
    if kind is not None:
        yield _Said(
            aliases=_aliases(None, event.get("output_index"), item.get("id"), item.get("call_id"), None),
            kind=kind,
            call_id=_text(item.get("call_id")) or _text(item.get("id")),
            name=_text(item.get("name")),
            snapshot=_text(item.get(_TEXT_OF[kind])),
            is_done=is_done,
        )
    elif "tool_call" in str(item.get("type")) and isinstance(item.get("tool_calls"), list):
        yield from (_entry_said(entry, is_done) for entry in item["tool_calls"] if isinstance(entry, Mapping))


def _event_said(event: Mapping[str, Any], is_done: bool) -> _Said:
    kind = "custom" if "custom_tool_call" in str(event.get("type")) else "function"
    index = _index(event.get("index"))
    return _Said(
        aliases=_aliases(
            index, event.get("output_index"), event.get("item_id"), event.get("call_id"), event.get("name")
        ),
        index=index,
        kind=kind,
        call_id=_text(event.get("call_id")),
        name=_text(event.get("name")),
        delta=_text(event.get("delta")) if not is_done else "",
        snapshot=_text(event.get(_TEXT_OF[kind])),
        is_done=is_done,
    )


def _entry_said(entry: Mapping[str, Any], is_done: bool) -> _Said:
    """One of a list of calls, in the form of Chat Completions."""
    function = entry.get("function")
    function = function if isinstance(function, Mapping) else entry
    index, call_id, name = _index(entry.get("index")), _text(entry.get("id")), _text(function.get("name"))
    text = _text(function.get("arguments"))
    return _Said(
        aliases=_aliases(index, None, None, call_id, name),
        index=index,
        kind="function",
        call_id=call_id,
        name=name,
        delta="" if is_done else text,
        snapshot=text if is_done else "",
        is_done=is_done,
    )


def _aliases(index: object, place: object, item_id: object, call_id: object, name: object) -> Any:
    """From the strongest to the weakest; a name counts only where there is nothing else."""
    named = (("index", index), ("place", _index(place)), ("item", _text(item_id)), ("call", _text(call_id)))
    found = tuple((kind, value) for kind, value in named if value not in (None, ""))
    return found or ((("name", name),) if _text(name) else ())


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
