from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.messages import read_messages
from proxy.errors import BadRequest


def user_part(part: dict[str, Any], **options: Any) -> dict[str, Any]:
    found = read_messages([{"role": "user", "content": [part]}], **options)
    (only,) = found.items[0]["content"]
    return only  # type: ignore[no-any-return]


def refused(*messages: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_messages(list(messages))
    return caught.value


def test_system_and_developer_texts_become_instructions() -> None:
    found = read_messages(
        [
            {"role": "system", "content": "one"},
            {"role": "developer", "content": [{"type": "input_text", "text": "two"}]},
            {"role": "user", "content": "hi"},
        ]
    )
    assert found.instructions == ["one", "two"]
    assert [item["role"] for item in found.items] == ["user"]


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_text_has_several_names(kind: str) -> None:
    assert user_part({"type": kind, "text": "x"}) == {"type": "input_text", "text": "x"}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
        ),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,AA"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA"},
        ),
        (
            {"type": "file", "file_url": "https://x/y.pdf"},
            {"type": "input_file", "file_url": "https://x/y.pdf"},
        ),
        (
            {"type": "file", "file_data": "QUJD", "mime_type": "text/plain"},
            {"type": "input_file", "file_url": "data:text/plain;base64,QUJD"},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ"}},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ"},
        ),
        (
            {"type": "file", "file": {"data": "QUJD"}},
            {"type": "input_file", "file_url": "data:application/octet-stream;base64,QUJD"},
        ),
    ],
)
def test_images_and_files_become_upstream_s(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert user_part(part) == expected


def test_audio_is_refused_unless_it_may_be_a_file() -> None:
    audio = {"type": "input_audio", "input_audio": {"format": "mp3", "data": "QQ"}}
    assert refused({"role": "user", "content": [audio]}).param == "messages[0].content[0].type"
    assert user_part(audio, audio_as_file=True) == {
        "type": "input_file",
        "file_url": "data:audio/mpeg;base64,QQ",
    }


def test_an_assistant_s_calls_follow_its_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = read_messages([{"role": "assistant", "content": "on it", "tool_calls": [call]}])
    assert found.items == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "on it"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]


def test_an_assistant_s_refusal_stays_a_refusal() -> None:
    found = read_messages([{"role": "assistant", "content": None, "refusal": "no"}])
    assert found.items[0]["content"] == [{"type": "refusal", "refusal": "no"}]


def test_an_assistant_that_said_nothing_leaves_nothing() -> None:
    assert read_messages([{"role": "assistant", "content": None}]).items == []


@pytest.mark.parametrize("name", ["tool_call_id", "toolCallId", "call_id"])
def test_a_tool_s_result_is_an_output(name: str) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = read_messages([{"role": "tool", name: "c1", "content": parts}])
    assert found.items == [{"type": "function_call_output", "call_id": "c1", "output": "ab"}]


def test_a_tool_s_image_stays_apart() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    found = read_messages([{"role": "tool", "tool_call_id": "c1", "content": [image]}])
    assert found.items[0]["output"] == [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]


def test_a_custom_tool_s_call_and_result_are_items_of_their_own() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "***"}}
    found = read_messages(
        [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
        ]
    )
    assert found.items == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "***"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (5, "messages[0]"),
        ({"role": "robot", "content": "x"}, "messages[0].role"),
        ({"role": ["user"], "content": "x"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "file", "file_id": "f"}]}, "messages[0].content[0].file_id"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
            "messages[0].content[0].file.file_id",
        ),
        ({"role": "user", "content": [{"type": "file"}]}, "messages[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "messages[0].content[0].image_url",
        ),
        ({"role": "system", "content": [{"type": "image_url"}]}, "messages[0].content[0].type"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "tool_calls": {}}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            "messages[0].tool_calls[0].id",
        ),
    ],
)
def test_a_mistake_is_named(message: Any, param: str) -> None:
    assert refused(message).param == param


def test_no_messages_at_all_are_refused() -> None:
    assert refused().param == "messages"
