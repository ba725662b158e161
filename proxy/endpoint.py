"""The data plane's HTTP entry: body, access, attempts, answer, and always one record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from codexproxy.locality import Facts, facts_from_scope, resolve_client
from codexproxy.logging import request_id as logged_request_id
from codexproxy.request_id import incoming_request_id
from codexproxy.tasks import spawn
from proxy import limits
from proxy.access import check_access
from proxy.affinity import TURN_STATE, conversation_key
from proxy.answer import Answer, Send
from proxy.attempts import Attempts, Turn
from proxy.body import ClientGone, Receive, decoded, read_body
from proxy.delivery import deliver, limit_headers
from proxy.dialects.codex import CodexRequest, read_request
from proxy.dialects.models import CATALOGUE_QUERY, bundled_models, catalogue_query, openai_models
from proxy.dialects.responses import read_responses_request
from proxy.errors import MethodNotAllowed, NotFound, ProxyError, Surfaced
from proxy.events import KEEP_ALIVE_COMMENT, KEEP_ALIVE_NATIVE
from proxy.headers import forwarded
from proxy.runtime import Runtime, runtime
from proxy.sinks import JSON, CollectedResponse, EventSink, Sink
from requestlogs.records import Record

logger = logging.getLogger(__name__)

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
    # Once the dialect is known: who tells the client what goes wrong.
    sink: Sink | None = None


Handler = Callable[[Call], Awaitable[None]]


async def proxy_http(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application of the client paths. Never raises for what a client or upstream does."""
    call = await _call(scope, receive, send)
    token = logged_request_id.set(call.record.request_id)
    began = asyncio.get_running_loop().time()
    recorded = True
    try:
        handler = route(scope["method"], scope["path"])
        recorded = handler in _RECORDED
        check_access(call.facts, call.runtime.rules)
        await handler(call)
    except ProxyError as error:
        await _refuse(call, error)
    except ClientGone:
        _note_gone(call.record)
    except asyncio.CancelledError:
        _note_gone(call.record)
        raise
    except Exception:  # noqa: BLE001 - the outer edge: a fault of ours must reach the client as an answer
        logger.exception("the request failed")
        call.record.error_code = "internal_error"
        await _refuse(
            call, ProxyError(500, "internal_error", "codexproxy failed; see its log.", "server_error")
        )
    finally:
        call.answer.stop()
        logged_request_id.reset(token)
        if recorded:
            call.record.latency_ms = int((asyncio.get_running_loop().time() - began) * 1000)
            call.record.status_code = call.answer.status
            call.runtime.writer.put(call.record)


async def _call(scope: Scope, receive: Receive, send: Send) -> Call:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    request_id = incoming_request_id(headers.get("x-request-id") or headers.get("request-id"))
    running = await runtime()
    facts = facts_from_scope(scope)
    is_native = scope["path"].startswith("/backend-api")
    keep_alive = KEEP_ALIVE_NATIVE if is_native else KEEP_ALIVE_COMMENT
    client = resolve_client(facts, running.rules.trusted_proxies)
    record = Record(
        request_id=request_id,
        requested_at=datetime.now(UTC),
        path=scope["path"],
        client=headers.get("user-agent", ""),
        client_address=str(client or ""),
    )
    answer = Answer(send, request_id, keep_alive)
    return Call(scope, receive, answer, headers, facts, record, running)


def route(method: str, path: str) -> Handler:
    """Raises NotFound, and MethodNotAllowed with what is allowed."""
    known = _ROUTES.get(canonical(path))
    if known is None and canonical(path).startswith("/v1/models/"):
        known = _ROUTES["/v1/models"]
    if known is None:
        raise NotFound(path)
    if method not in known:
        raise MethodNotAllowed(method, ", ".join(known))
    return known[method]


def canonical(path: str) -> str:
    """Without a trailing slash, and without the /v1 that some clients always put before the endpoint."""
    path = path.rstrip("/")
    while path.startswith("/v1/v1/"):
        path = path.removeprefix("/v1")
    if path.startswith("/backend-api/codex/v1/"):
        return "/backend-api/codex/" + path.removeprefix("/backend-api/codex/v1/")
    return path


async def codex_responses(call: Call) -> None:
    """POST …/codex/responses: always answered as an event stream."""
    request = read_request(await _body(call))
    await _answer_turn(call, request, _event_sink(call, keeps_events=True), native=True)


async def v1_responses(call: Call) -> None:
    """POST /v1/responses: an event stream, or one object."""
    request = read_responses_request(await _body(call))
    sink = _event_sink(call, keeps_events=False) if request.is_stream else CollectedResponse(call.answer)
    await _answer_turn(call, request.upstream, sink, native=False, has_derived_key=request.has_derived_key)


def _event_sink(call: Call, *, keeps_events: bool) -> EventSink:
    created_at = int(call.record.requested_at.timestamp())
    return EventSink(call.answer, call.record.request_id, created_at, keeps_events=keeps_events)


async def _body(call: Call) -> bytes:
    limit = (
        limits.RESPONSES_BODY_LIMIT
        if canonical(call.record.path).endswith("/responses")
        else limits.BODY_LIMIT
    )
    body = await read_body(call.receive, limit)
    return decoded(body, call.headers.get("content-encoding", ""), limit)


async def _answer_turn(
    call: Call, request: CodexRequest, sink: Sink, *, native: bool, has_derived_key: bool = False
) -> None:
    """One turn, in whichever dialect: the same attempts, the same record."""
    record = call.record
    record.model, record.reasoning_effort = request.model, request.reasoning_effort
    record.service_tier = request.service_tier
    record.conversation = conversation_key(call.headers, request.prompt_cache_key)
    await call.runtime.recall(record.conversation)
    call.sink = sink
    turn = Turn(
        request=request,
        passed=forwarded(call.scope["headers"]),
        conversation=record.conversation,
        turn_state=call.headers.get(TURN_STATE, ""),
        record=record,
        native=native,
        has_derived_key=has_derived_key and record.conversation == request.prompt_cache_key,
    )
    await _unless_gone(call, _serve(call, turn, sink))


async def _serve(call: Call, turn: Turn, sink: Sink) -> None:
    services = call.runtime.services
    if isinstance(sink, EventSink):
        call.answer.keep_alive_from_now(lambda: limit_headers(services))
    try:
        served = await Attempts(turn, services).run()
    except Surfaced as surfaced:
        _note(call.record, surfaced)
        await sink.refuse(surfaced, limit_headers(services))
        return
    await deliver(served, sink, turn, services)


async def _refuse(call: Call, error: ProxyError) -> None:
    _note(call.record, error)
    if not call.answer.ended:
        sink = call.sink or _event_sink(call, keeps_events=False)
        await sink.refuse(error, [])


def _note(record: Record, error: ProxyError) -> None:
    record.status, record.error_code, record.error_message = "error", error.code, error.message[:500]


def _note_gone(record: Record) -> None:
    """A client may leave when it has all it wants: an answer that is complete stays what it was."""
    if record.status == "error" and record.error_code is None:
        record.status, record.error_code = "cancelled", "client_disconnected"


async def _unless_gone(call: Call, work: Awaitable[None]) -> None:
    """Do the work; a client that leaves ends it at once. Raises ClientGone."""
    handler = asyncio.current_task()
    gone = False

    def leave(watcher: asyncio.Task[None]) -> None:
        nonlocal gone
        gone = True
        if handler is not None:
            handler.cancel()

    watcher = spawn(_gone(call.receive), name="client watcher")
    watcher.add_done_callback(leave)
    try:
        await work
    except asyncio.CancelledError:
        if handler is None or not gone:
            raise
        handler.uncancel()
        raise ClientGone from None
    finally:
        watcher.remove_done_callback(leave)
        watcher.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def codex_models(call: Call) -> None:
    """GET …/codex/models: upstream's catalogue, passed through whole."""
    query = call.scope.get("query_string", b"").decode("latin-1")
    catalogue = await call.runtime.catalogue.get(catalogue_query(query))
    etag = catalogue.etag
    headers = [JSON, (b"cache-control", b"no-cache"), *([(b"etag", etag.encode())] if etag else [])]
    if etag and call.headers.get("if-none-match") == etag:
        await call.answer.whole(304, [(b"etag", etag.encode())], b"")
    else:
        await call.answer.whole(200, headers, catalogue.body)


async def v1_models(call: Call) -> None:
    """GET /v1/models[/{id}]: the catalogue as OpenAI's clients know it."""
    if catalogue_query(call.scope.get("query_string", b"").decode("latin-1")):
        await codex_models(call)
        return
    try:
        listed = openai_models((await call.runtime.catalogue.get(CATALOGUE_QUERY)).body)
    except Surfaced:
        # No account yet, or none that can be asked: a client's start must not hang on it.
        listed = bundled_models()
    wanted = canonical(call.scope["path"]).removeprefix("/v1/models").lstrip("/")
    if wanted and wanted not in listed:
        raise ProxyError(404, "model_not_found", f"The model {wanted!r} does not exist.", param="model")
    whole = listed[wanted] if wanted else {"object": "list", "data": list(listed.values())}
    await call.answer.whole(200, [JSON], msgspec.json.encode(whole))


# A look at the catalogue is no request that anybody asks about later.
_RECORDED = frozenset({codex_responses, v1_responses})

_ROUTES: dict[str, dict[str, Handler]] = {
    "/backend-api/codex/responses": {"POST": codex_responses},
    "/v1/responses": {"POST": v1_responses},
    "/backend-api/codex/models": {"GET": codex_models},
    "/v1/models": {"GET": v1_models},
}
