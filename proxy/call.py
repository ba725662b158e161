"""One client request as the data plane's handlers see it, and how it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from codexproxy.locality import Facts, facts_from_pairs, peer_of, resolve_client
from codexproxy.request_id import incoming_request_id
from proxy import limits
from proxy.access import Access
from proxy.answer import Answer, Send
from proxy.body import Receive, decoded, read_body
from proxy.dialects.codex import CodexRequest
from proxy.errors import ProxyError
from proxy.events import KEEP_ALIVE_COMMENT, KEEP_ALIVE_NATIVE
from proxy.runtime import Runtime, runtime
from proxy.sinks import EventSink, ResponsesStream, Sink
from proxy.transport import Transport
from requestlogs.records import Record

Scope = Mapping[str, Any]


@dataclass(slots=True)
class Call:
    """One client request as the handlers see it. Header names are lower case."""

    scope: Scope
    receive: Receive
    answer: Answer
    headers: dict[str, str]
    facts: Facts
    record: Record
    runtime: Runtime
    # Who has come in.
    access: Access = Access()
    # Once the dialect is known: who tells the client what goes wrong.
    sink: Sink | None = None
    # How upstream is asked, where it is not over HTTP.
    transport: Transport | None = None
    # A look at the catalogue, or a warm-up, is no request that anybody asks about later.
    is_recorded: bool = True


async def received(scope: Scope, receive: Receive, send: Send) -> Call:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    headers = dict(pairs)
    request_id = incoming_request_id(headers.get("x-request-id") or headers.get("request-id"))
    running = await runtime()
    facts = facts_from_pairs(peer_of(scope), pairs)
    is_native = scope["path"].startswith("/backend-api")
    keep_alive = KEEP_ALIVE_NATIVE if is_native else KEEP_ALIVE_COMMENT
    client = resolve_client(facts, running.gatekeeper.rules.trusted_proxies)
    record = Record(
        request_id=request_id,
        requested_at=datetime.now(UTC),
        path=scope["path"],
        client=headers.get("user-agent", ""),
        client_address=str(client or ""),
    )
    answer = Answer(send, request_id, keep_alive)
    return Call(scope, receive, answer, headers, facts, record, running)


def admit(call: Call) -> None:
    """Let in, or raise AccessDenied or Busy: asked for each request, and again for each turn of a socket."""
    call.access = call.runtime.gatekeeper.admit(call.facts, call.headers, call.record.path)
    call.record.api_key_id = call.access.key_id


def canonical(path: str) -> str:
    """Without a trailing slash, and without the /v1 that some clients always put before the endpoint."""
    path = path.rstrip("/")
    while path.startswith("/v1/v1/"):
        path = path.removeprefix("/v1")
    if path.startswith("/backend-api/codex/v1/"):
        return "/backend-api/codex/" + path.removeprefix("/backend-api/codex/v1/")
    return path


async def whole_body(call: Call) -> bytes:
    limit = limits.body_limit(call.record.path)
    body = await read_body(call.receive, limit)
    return decoded(body, call.headers.get("content-encoding", ""), limit)


def event_sink(call: Call, *, keeps_events: bool) -> EventSink:
    created_at = int(call.record.requested_at.timestamp())
    return EventSink(call.answer, call.record.request_id, created_at, keeps_events=keeps_events)


def responses_stream(call: Call, request: CodexRequest, *, keeps_events: bool) -> ResponsesStream:
    """The same for a client of /v1."""
    request_id, created_at = call.record.request_id, int(call.record.requested_at.timestamp())
    model = call.access.model_for(request.model)
    return ResponsesStream(call.answer, request_id, created_at, keeps_events=keeps_events, model=model)


async def refuse(call: Call, error: ProxyError) -> None:
    note(call.record, error)
    if not call.answer.ended:
        sink = call.sink or event_sink(call, keeps_events=False)
        await sink.refuse(error, [])


def note(record: Record, error: ProxyError) -> None:
    record.status, record.error_code, record.error_message = "error", error.code, error.message[:500]


def note_gone(record: Record) -> None:
    """A client may leave when it has all it wants: an answer that is complete stays what it was."""
    if record.status == "error" and record.error_code is None:
        record.status, record.error_code = "cancelled", "client_disconnected"
