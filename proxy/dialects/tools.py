"""Pure: tools, their choice and the form of the answer, from Chat Completions' shape to upstream's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.dialects.checks import mapping, name, one_of, sequence, text, wrong

WEB_SEARCH = frozenset({"web_search", "web_search_preview"})
_MODES = frozenset({"none", "auto", "required"})
_SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORMATS = frozenset({"text", "json_object", "json_schema"})


def read_tools(given: Any) -> list[dict[str, Any]]:
    """Raises BadRequest."""
    tools = sequence(given, "tools")
    return [
        read_tool(mapping(tool, f"tools[{index}]"), f"tools[{index}]") for index, tool in enumerate(tools)
    ]


def read_tool(given: Any, where: str) -> dict[str, Any]:
    """One of them. Raises BadRequest."""
    tool = mapping(given, where)
    kind = tool.get("type")
    if kind == "function":
        return _function(tool, where)
    if kind == "custom":
        return _custom(tool, where)
    if isinstance(kind, str) and kind in WEB_SEARCH:
        return {**tool, "type": "web_search"}
    shown = kind[:80] if isinstance(kind, str) else kind
    wrong(f"{where}.type", f"{shown!r} is not supported; function, custom and web_search are.")


def _function(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    nested = tool.get("function")
    at = f"{where}.function" if nested is not None else where
    function = mapping(nested, at) if nested is not None else tool
    parameters = function.get("parameters")
    strict = function.get("strict")
    if strict is not None and not isinstance(strict, bool):
        wrong(f"{at}.strict", "must be true or false.")
    found: dict[str, Any] = {
        "type": "function",
        "name": name(function.get("name"), f"{at}.name"),
        "parameters": {"type": "object", "properties": {}}
        if parameters is None
        else mapping(parameters, f"{at}.parameters"),
        # Left out, it means false in Chat Completions and true in Responses.
        "strict": bool(strict),
    }
    if function.get("description") is not None:
        found["description"] = text(function["description"], f"{at}.description")
    return found


def _custom(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    custom = mapping(tool.get("custom"), f"{where}.custom")
    found: dict[str, Any] = {"type": "custom", "name": name(custom.get("name"), f"{where}.custom.name")}
    if custom.get("description") is not None:
        found["description"] = text(custom["description"], f"{where}.custom.description")
    if custom.get("format") is not None:
        form = dict(mapping(custom["format"], f"{where}.custom.format"))
        grammar = form.pop("grammar", None)
        found["format"] = (
            form if grammar is None else {**form, **mapping(grammar, f"{where}.custom.format.grammar")}
        )
    return found


def web_search(options: Mapping[str, Any]) -> dict[str, Any]:
    """The tool for `web_search_options`; a location has one level less in Responses."""
    tool = {"type": "web_search", **options}
    location = options.get("user_location")
    if isinstance(location, Mapping) and isinstance(location.get("approximate"), Mapping):
        tool["user_location"] = {"type": "approximate", **location["approximate"]}
    return tool


def read_tool_choice(given: Any) -> Any:
    """Raises BadRequest."""
    if isinstance(given, str):
        if given in WEB_SEARCH:
            return {"type": "web_search"}
        return one_of(given, _MODES, "tool_choice")
    choice = mapping(given, "tool_choice")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        nested = choice.get(kind)
        chosen = mapping(nested, f"tool_choice.{kind}") if nested is not None else choice
        return {"type": kind, "name": name(chosen.get("name"), f"tool_choice.{kind}.name")}
    if isinstance(kind, str) and kind in WEB_SEARCH:
        return {"type": "web_search"}
    if kind == "allowed_tools":
        return _allowed_tools(mapping(choice.get("allowed_tools", choice), "tool_choice.allowed_tools"))
    wrong("tool_choice", "its type must be function, custom, web_search or allowed_tools.")


def _allowed_tools(allowed: Mapping[str, Any]) -> dict[str, Any]:
    where = "tool_choice.allowed_tools"
    mode = one_of(allowed.get("mode"), {"auto", "required"}, f"{where}.mode")
    tools = sequence(allowed.get("tools"), f"{where}.tools")
    for index, tool in enumerate(tools):
        if isinstance(tool, Mapping) and tool.get("type") == "allowed_tools":
            wrong(f"{where}.tools[{index}].type", "allowed_tools cannot hold another allowed_tools.")
    return {"type": "allowed_tools", "mode": mode, "tools": [read_tool_choice(tool) for tool in tools]}


def read_response_format(given: Any) -> dict[str, Any]:
    """`text.format` of a Responses request. Raises BadRequest."""
    wanted = mapping(given, "response_format")
    kind = one_of(wanted.get("type"), _FORMATS, "response_format.type")
    if kind != "json_schema":
        return {"type": kind}
    where = "response_format.json_schema"
    schema = mapping(wanted.get("json_schema"), where)
    if not isinstance(schema.get("name"), str) or not _SCHEMA_NAME.fullmatch(schema["name"]):
        wrong(f"{where}.name", "must be 1 to 64 letters, digits, _ or -.")
    found: dict[str, Any] = {
        "type": "json_schema",
        "name": schema["name"],
        "schema": mapping(schema.get("schema"), f"{where}.schema"),
    }
    if schema.get("description") is not None:
        found["description"] = text(schema["description"], f"{where}.description")
    if schema.get("strict") is not None:
        if not isinstance(schema["strict"], bool):
            wrong(f"{where}.strict", "must be true or false.")
        found["strict"] = schema["strict"]
    return found
