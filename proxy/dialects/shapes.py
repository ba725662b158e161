"""Pure: what upstream knows of a Responses request, held to its shape. Raises BadRequest.

Unknown fields, tools and items pass as they are. Known ones that are malformed are told here, with their
place: upstream's own answer to them names none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.dialects.checks import boolean, mapping, name, sequence, text, wrong
from proxy.dialects.messages import known_part
from proxy.dialects.tools import read_tool, read_tool_choice

# Where null says the same as leaving the field out, and upstream wants it left out.
_NULLABLE = frozenset(
    {"include", "parallel_tool_calls", "reasoning", "service_tier", "text", "tool_choice", "tools"}
)
_RENAMED_TOOLS = {"web_search_preview": "web_search"}
# Item type → its fields that must be a text; the first names the call.
_CALLS = {
    "function_call": ("call_id", "name", "arguments"),
    "custom_tool_call": ("call_id", "name", "input"),
}
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


def shaped(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request's fields, without the nulls that say nothing and with tools by upstream's names."""
    fields = {key: value for key, value in request.items() if value is not None or key not in _NULLABLE}
    for field in ("reasoning", "text"):
        if field in fields:
            mapping(fields[field], field)
    style = fields.get("text", {})
    if style.get("format") is not None:
        name(mapping(style["format"], "text.format").get("type"), "text.format.type")
    for index, included in enumerate(sequence(fields.get("include", []), "include")):
        text(included, f"include[{index}]")
    boolean(fields, "parallel_tool_calls")
    if "service_tier" in fields:
        text(fields["service_tier"], "service_tier")
    if "tools" in fields:
        tools = sequence(fields["tools"], "tools")
        fields["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if "tool_choice" in fields:
        fields["tool_choice"] = _choice(fields["tool_choice"])
    return fields


def _tool(given: Any, where: str) -> Mapping[str, Any]:
    tool = mapping(given, where)
    kind = name(tool.get("type"), f"{where}.type")
    if kind in _RENAMED_TOOLS:
        return {**tool, "type": _RENAMED_TOOLS[kind]}
    if kind == "function" and "function" in tool:
        # As Chat Completions has it, where its messages may stand too.
        return read_tool(tool, where)
    if kind in ("function", "custom"):
        name(tool.get("name"), f"{where}.name")
    return tool


def _choice(given: Any) -> Any:
    if isinstance(given, str):
        return _RENAMED_TOOLS.get(given, given)
    choice = mapping(given, "tool_choice")
    kind = name(choice.get("type"), "tool_choice.type")
    if kind in _RENAMED_TOOLS:
        return {**choice, "type": _RENAMED_TOOLS[kind]}
    return read_tool_choice(choice) if kind == "function" and "function" in choice else choice


def check_item(item: Mapping[str, Any], where: str) -> None:
    """A call, or the result of one, is whole; other items are not looked into."""
    kind = text(item.get("type"), f"{where}.type")
    if kind in _CALLS:
        *names, content = _CALLS[kind]
        for field in names:
            name(item.get(field), f"{where}.{field}")
        text(item.get(content), f"{where}.{content}")
    elif kind in _OUTPUTS:
        name(item.get("call_id"), f"{where}.call_id")
        if not isinstance(item.get("output"), (str, list)):
            wrong(f"{where}.output", "must be a text or a list of parts.")
    elif kind == "item_reference":
        wrong(where, "nothing is stored here that it could refer to: send the item itself.")


def is_unreadable(item: Mapping[str, Any]) -> bool:
    """Reasoning without its encrypted content: only who has stored it could know what it was."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def part_of(part: Mapping[str, Any], text_kind: str, where: str) -> Mapping[str, Any]:
    """A message's part with upstream's names; parts of unknown types pass as they are."""
    kind = part.get("type")
    if kind == "text":
        return {**part, "type": text_kind, "text": text(part.get("text"), f"{where}.text")}
    if kind in ("input_text", "output_text"):
        text(part.get("text"), f"{where}.text")
        return part
    if kind in ("image_url", "file") or _needs_translation(part):
        return known_part(part, where) or part
    return part


def _needs_translation(part: Mapping[str, Any]) -> bool:
    """Whether an image or a file has upstream's type, yet not its form."""
    if part.get("type") == "input_image":
        return bool(part.get("file_id")) or not isinstance(part.get("image_url"), str)
    if part.get("type") != "input_file":
        return False
    data = part.get("file_data")
    has_content = isinstance(part.get("file_url"), str) or (
        isinstance(data, str) and data.startswith("data:")
    )
    return bool(part.get("file_id")) or not has_content
