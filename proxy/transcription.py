"""The endpoints that write audio down."""

from __future__ import annotations

from proxy.answer import Answer
from proxy.call import Call, whole_body
from proxy.dialects.transcription import (
    MODEL,
    Transcription,
    read_transcription,
    read_v1_transcription,
    transcribed_text,
)
from proxy.forwarding import Forward, forward_call
from proxy.policy import check_model
from proxy.sinks import Ending, PassedOn


class TextOnly(PassedOn):
    """For a client that wants no JSON."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer, content=b"text/plain; charset=utf-8")

    async def end(self, ending: Ending) -> None:
        self.body = transcribed_text(self.body)
        await super().end(ending)


async def codex_transcribe(call: Call) -> None:
    """POST /backend-api/transcribe: Codex's form, as it came."""
    body = await whole_body(call)
    await _transcribe(call, read_transcription(body, call.headers.get("content-type", "")))


async def v1_transcriptions(call: Call) -> None:
    """POST /v1/audio/transcriptions."""
    body = await whole_body(call)
    request = read_v1_transcription(body, call.headers.get("content-type", ""))
    if request.dropped:
        call.answer.own_headers.append((b"x-codexproxy-dropped", ", ".join(request.dropped).encode()))
    await _transcribe(call, request)


async def _transcribe(call: Call, request: Transcription) -> None:
    check_model(MODEL, call.access.key)
    call.record.model = MODEL
    sink = TextOnly(call.answer) if request.wants_text else PassedOn(call.answer)
    forward = Forward("POST", "/transcribe", request.body, request.content_type, holds="text")
    await forward_call(call, forward, sink)
