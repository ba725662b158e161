"""Pure: messages as Chat Completions has them, made into the items of a Responses request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.dialects.checks import mapping, name, one_of, sequence, text, wrong

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
LIFTED_ROLES = frozenset({"system", "developer"})
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_CALL_ID_NAMES = ("tool_call_id", "toolCallId", "call_id")
_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}

Item = dict[str, Any]


@dataclass(slots=True)
class Messages:
    """What was read: texts of system and developer messages, and everything else in its order."""

    instructions: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    # The calls that are no function's: their results are items of another type.
    custom_calls: set[str] = field(default_factory=set)


def read_messages(given: Any, param: str = "messages", *, audio_as_file: bool = False) -> Messages:
    """Raises BadRequest. `audio_as_file`: input_audio becomes a file instead of being refused."""
    messages = sequence(given, param)
    if not messages:
        wrong(param, "must hold at least one message.")
    found = Messages()
    for index, message in enumerate(messages):
        _read_message(mapping(message, f"{param}[{index}]"), f"{param}[{index}]", found, audio_as_file)
    return found


def _read_message(message: Mapping[str, Any], where: str, found: Messages, audio_as_file: bool) -> None:
    role = one_of(message.get("role"), ROLES, f"{where}.role")
    if role in LIFTED_ROLES:
        found.instructions.append(_plain_text(message.get("content"), f"{where}.content"))
    elif role == "user":
        content = user_content(message.get("content"), f"{where}.content", audio_as_file=audio_as_file)
        found.items.append({"type": "message", "role": "user", "content": content})
    elif role == "assistant":
        found.items += assistant_items(message, where, found.custom_calls)
    else:
        found.items.append(tool_result(message, where, found.custom_calls))


def _plain_text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for index, given in enumerate(sequence(content, where)):
        part = mapping(given, f"{where}[{index}]")
        one_of(part.get("type"), TEXT_PARTS, f"{where}[{index}].type")
        texts.append(text(part.get("text"), f"{where}[{index}].text"))
    return "\n".join(texts)


def user_content(content: Any, where: str, *, audio_as_file: bool = False) -> list[Item]:
    """The parts of a user's message as Responses has them."""
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    parts = []
    for index, given in enumerate(sequence(content, where)):
        param = f"{where}[{index}]"
        if isinstance(given, str):
            parts.append({"type": "input_text", "text": given})
        else:
            parts.append(_user_part(mapping(given, param), param, audio_as_file))
    return parts


def _user_part(part: Mapping[str, Any], where: str, audio_as_file: bool) -> Item:
    kind = part.get("type")
    if kind == "input_audio" and audio_as_file:
        return _audio_file(mapping(part.get("input_audio"), f"{where}.input_audio"), where)
    found = known_part(part, where)
    if found is None:
        if kind == "input_audio":
            wrong(f"{where}.type", "input_audio is not supported.")
        shown = kind if isinstance(kind, str) else "a part without a type"
        wrong(f"{where}.type", f"{shown[:80]!r} is not supported; send text, image_url or file.")
    return found


def known_part(part: Mapping[str, Any], where: str) -> Item | None:
    """A text, image or file in any of the spellings that clients use; None for anything else."""
    kind = part.get("type")
    if not isinstance(kind, str):
        return None
    if kind in TEXT_PARTS:
        return {"type": "input_text", "text": text(part.get("text"), f"{where}.text")}
    if kind in ("image_url", "input_image"):
        return _image(part, where)
    if kind in ("file", "input_file"):
        return _file(part, where)
    return None


def _image(part: Mapping[str, Any], where: str) -> Item:
    """Addresses and data URLs are passed on untouched: nothing is fetched from here."""
    if part.get("file_id"):
        wrong(f"{where}.file_id", "file_id is not supported: send image_url.")
    given = part.get("image_url")
    nested = given if isinstance(given, Mapping) else {"url": given}
    image: Item = {"type": "input_image", "image_url": name(nested.get("url"), f"{where}.image_url")}
    detail = nested.get("detail") or part.get("detail")
    if detail is not None:
        image["detail"] = text(detail, f"{where}.image_url.detail")
    return image


def _file(part: Mapping[str, Any], where: str) -> Item:
    nested = part.get("file")
    meta = mapping(nested, f"{where}.file") if nested is not None else part
    at = f"{where}.file" if nested is not None else where
    if meta.get("file_id"):
        wrong(f"{at}.file_id", "file_id is not supported: send file_data or file_url.")
    found: Item = {"type": "input_file"}
    if meta.get("filename") is not None:
        found["filename"] = text(meta["filename"], f"{at}.filename")
    data = meta.get("file_data", meta.get("data"))
    if meta.get("file_url") is not None:
        found["file_url"] = name(meta["file_url"], f"{at}.file_url")
    elif data is None:
        wrong(at, "holds neither file_data nor file_url.")
    elif name(data, f"{at}.file_data").startswith("data:"):
        found["file_data"] = data
    else:
        kind = meta.get("mime_type") or meta.get("content_type") or "application/octet-stream"
        found["file_url"] = f"data:{text(kind, f'{at}.mime_type')};base64,{data}"
    return found


def _audio_file(audio: Mapping[str, Any], where: str) -> Item:
    kind = name(audio.get("format"), f"{where}.input_audio.format")
    data = name(audio.get("data"), f"{where}.input_audio.data")
    mime_type = _AUDIO_TYPES.get(kind, f"audio/{kind}")
    return {"type": "input_file", "file_url": f"data:{mime_type};base64,{data}"}


def assistant_items(message: Mapping[str, Any], where: str, custom_calls: set[str]) -> list[Item]:
    """What the model said, then the tools it called; an empty message leaves nothing."""
    content = _assistant_content(message.get("content"), f"{where}.content")
    refusal = message.get("refusal")
    if refusal is not None:
        content.append({"type": "refusal", "refusal": text(refusal, f"{where}.refusal")})
    items: list[Item] = [{"type": "message", "role": "assistant", "content": content}] if content else []
    calls = message.get("tool_calls")
    for index, call in enumerate(sequence(calls, f"{where}.tool_calls") if calls is not None else ()):
        param = f"{where}.tool_calls[{index}]"
        items.append(_tool_call(mapping(call, param), param, custom_calls))
    return items


def _assistant_content(content: Any, where: str) -> list[Item]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    parts: list[Item] = []
    for index, given in enumerate(sequence(content, where)):
        param = f"{where}[{index}]"
        part = mapping(given, param)
        if part.get("type") == "refusal":
            parts.append({"type": "refusal", "refusal": text(part.get("refusal"), f"{param}.refusal")})
            continue
        one_of(part.get("type"), TEXT_PARTS, f"{param}.type")
        parts.append({"type": "output_text", "text": text(part.get("text"), f"{param}.text")})
    return parts


def _tool_call(call: Mapping[str, Any], where: str, custom_calls: set[str]) -> Item:
    call_id = name(call.get("id"), f"{where}.id")
    if call.get("type") == "custom":
        custom = mapping(call.get("custom"), f"{where}.custom")
        custom_calls.add(call_id)
        return {
            "type": "custom_tool_call",
            "call_id": call_id,
            "name": name(custom.get("name"), f"{where}.custom.name"),
            "input": text(custom.get("input"), f"{where}.custom.input"),
        }
    function = mapping(call.get("function"), f"{where}.function")
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name(function.get("name"), f"{where}.function.name"),
        "arguments": text(function.get("arguments"), f"{where}.function.arguments"),
    }


def tool_result(message: Mapping[str, Any], where: str, custom_calls: set[str]) -> Item:
    given = next((message[key] for key in _CALL_ID_NAMES if message.get(key) is not None), None)
    call_id = name(given, f"{where}.tool_call_id")
    kind = "custom_tool_call_output" if call_id in custom_calls else "function_call_output"
    return {"type": kind, "call_id": call_id, "output": _output(message.get("content"), f"{where}.content")}


def _output(content: Any, where: str) -> str | list[Item]:
    """A text where it is one; with images or files the parts stay apart."""
    if isinstance(content, str):
        return content
    parts = user_content(content, where)
    if all(part["type"] == "input_text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts
