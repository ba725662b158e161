"""What else Codex asks of the backend on behalf of a conversation: passed on as it is.

What belongs to the person who is signed in to Codex (its settings, plugins, connectors, analytics) is not:
no account of the pool can answer for it, and Codex goes on without it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from proxy.affinity import conversation_key
from proxy.call import Call, canonical, whole_body
from proxy.dialects.checks import decoded_object
from proxy.dialects.codex import CodexRequest
from proxy.forwarding import Forward, forward_call
from proxy.policy import permitted
from proxy.sinks import PassedOn

_GOAL = "/backend-api/codex/thread/goal/get"
_NO_GOAL = b'{"goal":null}'

CONTROL_PATHS: dict[str, tuple[str, ...]] = {
    _GOAL: ("GET", "POST"),
    "/backend-api/codex/thread/goal/set": ("POST",),
    "/backend-api/codex/thread/goal/clear": ("POST",),
    "/backend-api/codex/memories/trace_summarize": ("POST",),
    "/backend-api/codex/safety/arc": ("POST",),
    "/backend-api/codex/alpha/search": ("POST",),
    "/backend-api/codex/agent-identities/jwks": ("GET",),
    "/backend-api/wham/agent-identities/jwks": ("GET",),
}


async def codex_control(call: Call) -> None:
    """Any of these: to the conversation's account, and to upstream's same path."""
    body = await whole_body(call)
    if body:
        body = _permitted(call, body, decoded_object(body))
    asked = canonical(call.scope["path"])
    path = asked.removeprefix("/backend-api")
    query = parse_qsl(call.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    target = f"{path}?{urlencode(query)}" if query else path
    # A conversation that has no goal is nothing that Codex should stumble over.
    nothing = _NO_GOAL if asked == _GOAL else b""
    forward = Forward(call.scope["method"], target, body, nothing=nothing, is_of_conversation=True)
    conversation = conversation_key(call.headers, None)
    await forward_call(call, forward, PassedOn(call.answer), conversation=conversation)


def _permitted(call: Call, body: bytes, payload: dict[str, Any]) -> bytes:
    """The body as the client's key lets it ask. Raises AccessDenied."""
    model = payload.get("model")
    if not isinstance(model, str):
        return body
    reasoning = payload.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    asked = CodexRequest(
        body, model, effort if isinstance(effort, str) else None, "", None, has_compaction=False
    )
    allowed = permitted(asked, call.access.key)
    call.record.model, call.record.reasoning_effort = allowed.model, allowed.reasoning_effort
    return allowed.body
