"""The endpoints that answer a turn: each a dialect around the same attempts, with the same record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from codexproxy.server_departures import DEPARTURE
from codexproxy.tasks import spawn
from proxy.access import Access
from proxy.affinity import TURN_STATE, conversation_key, file_key
from proxy.attempts import Attempts, Turn
from proxy.body import ClientGone, Receive
from proxy.call import Call, event_sink, note, responses_stream, whole_body
from proxy.chat_sinks import ChatStream, CollectedChat
from proxy.delivery import deliver, limit_headers
from proxy.dialects.chat import read_chat_request
from proxy.dialects.chat_answer import ChatAnswer
from proxy.dialects.codex import CodexRequest, read_request
from proxy.dialects.frames import read_frame, read_responses_frame
from proxy.dialects.responses import read_responses_request
from proxy.errors import Surfaced
from proxy.headers import forwarded
from proxy.policy import permitted
from proxy.sinks import CollectedResponse, Sink


async def codex_responses(call: Call) -> None:
    """POST …/codex/responses: always answered as an event stream."""
    request = read_request(await whole_body(call))
    await answer_turn(call, request, event_sink(call, keeps_events=True), native=True)


async def v1_responses(call: Call) -> None:
    """POST /v1/responses: an event stream, or one object."""
    models = call.runtime.catalogue.models
    request = read_responses_request(await whole_body(call), call.access.owner, models)
    sink: Sink
    if request.is_stream:
        sink = responses_stream(call, request.upstream, keeps_events=False)
    else:
        sink = CollectedResponse(call.answer)
    await answer_turn(call, request.upstream, sink, native=False, has_derived_key=request.has_derived_key)


async def v1_chat_completions(call: Call) -> None:
    """POST /v1/chat/completions: chunks, or one completion."""
    models = call.runtime.catalogue.models
    request = read_chat_request(await whole_body(call), call.access.owner, models)
    if request.dropped:
        call.answer.own_headers.append((b"x-codexproxy-dropped", ", ".join(request.dropped).encode()))
    record, upstream = call.record, request.responses
    chat = ChatAnswer(
        f"chatcmpl-{record.request_id}",
        int(record.requested_at.timestamp()),
        call.access.model_for(upstream.upstream.model),
        include_usage=request.include_usage,
    )
    sink = ChatStream(call.answer, chat) if upstream.is_stream else CollectedChat(call.answer, chat)
    await answer_turn(call, upstream.upstream, sink, native=False, has_derived_key=upstream.has_derived_key)


async def frame_turn(call: Call, text: bytes, *, native: bool) -> None:
    """A frame of a websocket: answered with frames. A warm-up is on record only when it fails."""
    models = call.runtime.catalogue.models
    frame = read_frame(text) if native else read_responses_frame(text, call.access.owner, models)
    call.is_recorded = not frame.is_warm_up
    try:
        sink = (
            event_sink(call, keeps_events=True)
            if native
            else responses_stream(call, frame.upstream, keeps_events=True)
        )
        await answer_turn(call, frame.upstream, sink, native=native, has_derived_key=frame.has_derived_key)
    finally:
        call.is_recorded = call.is_recorded or call.record.status == "error"


async def answer_turn(
    call: Call, request: CodexRequest, sink: Sink, *, native: bool, has_derived_key: bool = False
) -> None:
    """One turn, in whichever dialect: the same attempts, the same record."""
    record = call.record
    given, request = request, permitted(request, call.access.key)
    if given is not request:
        # The caller has it as long as the answer takes.
        given.let_go()
    record.model, record.reasoning_effort = request.known_as or request.model, request.reasoning_effort
    record.service_tier = request.service_tier
    record.conversation = conversation_key(call.headers, request.prompt_cache_key)
    await call.runtime.recall(record.conversation)
    call.runtime.catalogue.sync_now_and_then()
    call.sink = sink
    turn = Turn(
        request=request,
        passed=forwarded(call.scope["headers"]),
        conversation=record.conversation,
        turn_state=call.headers.get(TURN_STATE, ""),
        record=record,
        native=native,
        accounts=call.access.accounts,
        has_derived_key=has_derived_key and record.conversation == request.prompt_cache_key,
        plans_without_model=call.runtime.catalogue.plans_without(request.model),
        file_owner=await file_owner(call, request.files),
        transport=call.transport,
    )
    # A warm-up asks for no answer, so that it takes no room of its key.
    access = call.access if call.is_recorded else Access()
    async with call.runtime.admission.turn(access, request, record, native=native):
        await _unless_gone(call, _serve(call, turn, sink))


async def serve_turn(call: Call, turn: Turn, sink: Sink) -> None:
    """Answer it, unless the client leaves before."""
    call.sink = sink
    await _unless_gone(call, _serve(call, turn, sink))


async def file_owner(call: Call, files: tuple[str, ...]) -> str | None:
    """The account that has the first of them that is known here."""
    running = call.runtime
    for file_id in files:
        key = file_key(file_id)
        await running.recall(key)
        entry = running.services.affinity.get(key, running.services.clock())
        if entry is not None:
            return entry.account_id
    return None


async def _serve(call: Call, turn: Turn, sink: Sink) -> None:
    services = call.runtime.services
    if sink.is_stream:
        call.answer.keep_alive_from_now(lambda: limit_headers(services))
    try:
        served = await Attempts(turn, services).run()
    except Surfaced as surfaced:
        note(call.record, surfaced)
        await sink.refuse(surfaced, limit_headers(services))
        return
    turn.request.let_go()
    await deliver(served, sink, turn, services)


async def _unless_gone(call: Call, work: Awaitable[None]) -> None:
    """Do the work; a client that leaves ends it at once. Raises ClientGone."""
    handler = asyncio.current_task()
    gone = False

    def leave() -> None:
        nonlocal gone
        # The server tells the end of an answer in the same way.
        if handler is not None and not call.answer.ended:
            gone = True
            handler.cancel()

    stop_watching = _watch(call, leave)
    try:
        await work
    except asyncio.CancelledError:
        if handler is None or not gone:
            raise
        handler.uncancel()
        raise ClientGone from None
    finally:
        stop_watching()


def _watch(call: Call, leave: Callable[[], None]) -> Callable[[], object]:
    """Have `leave` called when the client leaves; returns what ends that."""
    call_at_departure = call.scope.get("extensions", {}).get(DEPARTURE)
    if call_at_departure is not None:
        call_at_departure(leave)
        return partial(call_at_departure, None)
    return spawn(_left(call.receive, leave), name="client watcher").cancel


async def _left(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()
