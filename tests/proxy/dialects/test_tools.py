from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.dialects.tools import read_response_format, read_tool_choice, read_tools, web_search
from proxy.errors import BadRequest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def test_a_function_is_flattened_and_keeps_strict() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
    }
    assert read_tools([tool]) == [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True, "description": "d"}
    ]


def test_a_function_is_not_strict_unless_it_says_so() -> None:
    (tool,) = read_tools([{"type": "function", "function": {"name": "f"}}])
    assert (tool["strict"], tool["parameters"]) == (False, {"type": "object", "properties": {}})


def test_a_function_that_is_flat_already_is_taken() -> None:
    assert read_tools([{"type": "function", "name": "f", "parameters": SCHEMA}])[0]["name"] == "f"


def test_a_custom_tool_s_grammar_moves_up() -> None:
    grammar = {"syntax": "lark", "definition": "start: x"}
    tool = {"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": grammar}}}
    assert read_tools([tool]) == [
        {
            "type": "custom",
            "name": "p",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
        }
    ]


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview"])
def test_web_search_has_one_name(kind: str) -> None:
    assert read_tools([{"type": kind, "search_context_size": "low"}]) == [
        {"type": "web_search", "search_context_size": "low"}
    ]


def test_the_place_of_a_search_has_one_level_less() -> None:
    options = {"user_location": {"type": "approximate", "approximate": {"country": "NO"}}}
    assert web_search(options) == {
        "type": "web_search",
        "user_location": {"type": "approximate", "country": "NO"},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("web_search_preview", {"type": "web_search"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "p"}}, {"type": "custom", "name": "p"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_a_choice_becomes_upstream_s(given: Any, expected: Any) -> None:
    assert read_tool_choice(given) == expected


def test_a_choice_among_choices_is_refused_however_deep_it_goes() -> None:
    choice: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
    for _ in range(400):
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [choice]}}
    with pytest.raises(BadRequest) as caught:
        read_tool_choice(choice)
    assert caught.value.param == "tool_choice.allowed_tools.tools[0].type"


def test_a_schema_becomes_the_text_s_format() -> None:
    schema = {"name": "Ev", "schema": SCHEMA, "strict": True, "description": "d"}
    assert read_response_format({"type": "json_schema", "json_schema": schema}) == {
        "type": "json_schema",
        "name": "Ev",
        "schema": SCHEMA,
        "description": "d",
        "strict": True,
    }


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_a_plain_format_stays(kind: str) -> None:
    assert read_response_format({"type": kind}) == {"type": kind}


@pytest.mark.parametrize(
    ("read", "given", "param"),
    [
        (read_tools, {}, "tools"),
        (read_tools, [5], "tools[0]"),
        (read_tools, [{"type": "code_interpreter"}], "tools[0].type"),
        (read_tools, [{"type": {}}], "tools[0].type"),
        (read_tools, [{"type": "function", "function": {}}], "tools[0].function.name"),
        (
            read_tools,
            [{"type": "function", "function": {"name": "f", "parameters": []}}],
            "tools[0].function.parameters",
        ),
        (
            read_tools,
            [{"type": "function", "function": {"name": "f", "strict": 1}}],
            "tools[0].function.strict",
        ),
        (read_tools, [{"type": "custom", "name": "p"}], "tools[0].custom"),
        (read_tool_choice, "file_search", "tool_choice"),
        (read_tool_choice, {"type": "file_search"}, "tool_choice"),
        (read_tool_choice, {"type": "function", "function": {}}, "tool_choice.function.name"),
        (read_response_format, "json", "response_format"),
        (read_response_format, {"type": "yaml"}, "response_format.type"),
        (read_response_format, {"type": "json_schema"}, "response_format.json_schema"),
        (
            read_response_format,
            {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}},
            "response_format.json_schema.name",
        ),
        (
            read_response_format,
            {"type": "json_schema", "json_schema": {"name": "a"}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_mistake_is_named(read: Callable[[Any], Any], given: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(given)
    assert caught.value.param == param
