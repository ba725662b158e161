"""Pure: audio to be written down, as Codex sends it and as OpenAI's Audio API has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from proxy.dialects.checks import one_of, wrong
from proxy.multipart import Part, read_multipart, written_multipart

MODEL = "gpt-4o-transcribe"
_FORMATS = frozenset({"json", "text"})
_TRANSLATED = frozenset({"file", "model", "prompt", "response_format", "stream"})

_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Transcription:
    """`body` is the form that goes upstream. `dropped` are fields that upstream does not know."""

    body: bytes
    content_type: bytes
    wants_text: bool = False
    dropped: tuple[str, ...] = ()


def read_transcription(body: bytes, content_type: str) -> Transcription:
    """Codex's own form, which goes on as it came. Raises BadRequest."""
    _file({part.name: part for part in read_multipart(body, content_type)})
    return Transcription(body, content_type.encode("latin-1", "replace"))


def read_v1_transcription(body: bytes, content_type: str) -> Transcription:
    """POST /v1/audio/transcriptions. Raises BadRequest with the `param` that is wrong."""
    fields = {part.name: part for part in read_multipart(body, content_type)}
    sent = [_file(fields)]
    one_of(_text(fields, "model"), {MODEL}, "model")
    wanted = one_of(_text(fields, "response_format") or "json", _FORMATS, "response_format")
    if _text(fields, "stream") not in ("", "false", "False", "0"):
        wrong("stream", "a transcription comes whole here.")
    if prompt := _text(fields, "prompt"):
        sent.append(Part("prompt", prompt.encode()))
    dropped = tuple(sorted({_plain(name) for name in fields} - _TRANSLATED - {""}))
    form, kind = written_multipart(sent)
    return Transcription(form, kind, wanted == "text", dropped)


def _file(fields: Mapping[str, Part]) -> Part:
    found = fields.get("file")
    if found is None or found.filename is None:
        wrong("file", "the form has no file.")
    if not found.content:
        wrong("file", "is empty.")
    return found


def _text(fields: Mapping[str, Part], name: str) -> str:
    found = fields.get(name)
    return found.text().strip() if found is not None else ""


def _plain(name: str) -> str:
    """As it may be named in a header."""
    return _UNNAMEABLE.sub("", name.removesuffix("[]"))[:40]


def transcribed_text(answer: bytes) -> bytes:
    """Only the text of upstream's answer."""
    text = msgspec.json.decode(answer)["text"]
    return f"{text}\n".encode()
