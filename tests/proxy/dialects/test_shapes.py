from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.shapes import check_item, is_unreadable, part_of, shaped
from proxy.errors import BadRequest

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
CUSTOM = {"type": "custom_tool_call", "call_id": "c1", "name": "p", "input": "x"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "done"}
PDF = "data:application/pdf;base64,QQ"


def test_what_is_well_formed_stays_as_it_is() -> None:
    request = {
        "include": ["brand.new"],
        "reasoning": {"effort": "low", "brand_new": 1},
        "text": {"verbosity": "low", "format": {"type": "brand_new"}},
        "tools": [{"type": "function", "name": "f", "x": 1}, {"type": "brand_new", "x": 1}],
        "tool_choice": {"type": "brand_new"},
        "parallel_tool_calls": False,
        "brand_new": None,
    }
    assert shaped(request) == request
    for item in (CALL, CUSTOM, OUTPUT, OUTPUT | {"output": []}, {"type": "brand_new"}):
        check_item(item, "input[0]")


def test_null_is_the_same_as_nothing() -> None:
    assert (
        shaped(dict.fromkeys(("include", "reasoning", "text", "tools", "tool_choice", "service_tier"))) == {}
    )


def test_tools_may_have_the_form_of_chat_completions() -> None:
    chat = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    found = shaped({"tools": [chat], "tool_choice": {"type": "function", "function": {"name": "f"}}})
    flat = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
    assert found == {"tools": [flat], "tool_choice": {"type": "function", "name": "f"}}


@pytest.mark.parametrize("choice", ["web_search_preview", {"type": "web_search_preview"}])
def test_a_search_has_one_name(choice: Any) -> None:
    found = shaped({"tools": [{"type": "web_search_preview", "x": 1}], "tool_choice": choice})
    assert found["tools"] == [{"type": "web_search", "x": 1}]
    assert found["tool_choice"] in ("web_search", {"type": "web_search"})


@pytest.mark.parametrize(
    ("request_fields", "param"),
    [
        ({"tools": "x"}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": None}]}, "tools[0].name"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"reasoning": "high"}, "reasoning"),
        ({"text": "json"}, "text"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"include": "x"}, "include"),
        ({"include": [5]}, "include[0]"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"service_tier": 5}, "service_tier"),
    ],
)
def test_a_malformed_field_is_named(request_fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        shaped(request_fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": 5}, "input[3].type"),
        (CALL | {"call_id": None}, "input[3].call_id"),
        (CALL | {"name": ""}, "input[3].name"),
        (CALL | {"arguments": {}}, "input[3].arguments"),
        (CUSTOM | {"input": None}, "input[3].input"),
        (OUTPUT | {"call_id": 5}, "input[3].call_id"),
        (OUTPUT | {"output": None}, "input[3].output"),
        ({"type": "item_reference", "id": "msg_1"}, "input[3]"),
    ],
)
def test_a_malformed_item_is_named(item: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_item(item, "input[3]")
    assert caught.value.param == param


def test_reasoning_without_its_content_is_readable_to_nobody() -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert is_unreadable(bare)
    assert not is_unreadable(bare | {"encrypted_content": "x"})


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "x", "y": 1}, {"type": "output_text", "text": "x", "y": 1}),
        (
            {"type": "input_image", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
        ),
        (
            {"type": "input_file", "file_data": "QUJD", "mime_type": "text/plain", "filename": "a.txt"},
            {"type": "input_file", "filename": "a.txt", "file_url": "data:text/plain;base64,QUJD"},
        ),
        ({"type": "file", "file": {"file_data": PDF}}, {"type": "input_file", "file_data": PDF}),
    ],
)
def test_a_part_has_upstream_s_names(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert part_of(part, "output_text", "p") == expected


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_text", "text": "x", "y": 1},
        {"type": "input_image", "image_url": "https://x/y.png", "y": 1},
        {"type": "input_file", "file_data": PDF, "y": 1},
        {"type": "input_file", "file_url": "https://x/y.pdf", "y": 1},
        {"type": "brand_new", "y": 1},
    ],
)
def test_a_part_that_upstream_knows_passes_whole(part: dict[str, Any]) -> None:
    assert part_of(part, "input_text", "p") == part


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_text"}, "p.text"),
        ({"type": "input_image", "file_id": "f"}, "p.file_id"),
        ({"type": "input_image"}, "p.image_url"),
        ({"type": "input_file", "file_id": "f", "file_url": "https://x/y.pdf"}, "p.file_id"),
        ({"type": "input_file"}, "p"),
    ],
)
def test_a_malformed_part_is_named(part: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        part_of(part, "input_text", "p")
    assert caught.value.param == param
