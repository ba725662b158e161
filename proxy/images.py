"""OpenAI's Images API: a turn whose one tool makes the image."""

from __future__ import annotations

from proxy import limits
from proxy.call import Call, whole_body
from proxy.chat_sinks import ChatStream, CollectedChat
from proxy.dialects.images import ImagesRequest, host_model, read_edit, read_generation
from proxy.dialects.images_answer import ImagesAnswer
from proxy.transport import OverHttp
from proxy.turns import answer_turn


async def v1_image_generations(call: Call) -> None:
    """POST /v1/images/generations."""
    body = await whole_body(call)
    await _answer_images(call, read_generation(body, host_model(call.runtime.catalogue.models)))


async def v1_image_edits(call: Call) -> None:
    """POST /v1/images/edits."""
    body = await whole_body(call)
    host = host_model(call.runtime.catalogue.models)
    await _answer_images(call, read_edit(body, call.headers.get("content-type", ""), host))


async def _answer_images(call: Call, request: ImagesRequest) -> None:
    if request.dropped:
        call.answer.own_headers.append((b"x-codexproxy-dropped", ", ".join(request.dropped).encode()))
    record = call.record
    images = ImagesAnswer(request.kind, int(record.requested_at.timestamp()))
    sink = ChatStream(call.answer, images) if request.is_stream else CollectedChat(call.answer, images)
    call.transport = OverHttp(call.runtime.services.upstream, event_limit=limits.IMAGE_EVENT_LIMIT)
    try:
        await answer_turn(call, request.upstream, sink, native=False)
    finally:
        # Who has made it, not who has called the tool.
        record.model = request.model
    if record.status == "success" and images.completion() is None:
        trouble = images.trouble
        record.status, record.error_code = "error", str(trouble.get("code"))
        record.error_message = str(trouble.get("message"))[:500]
