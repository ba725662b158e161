"""Requests that are no turn: passed on with an account of the pool, and answered with one body."""

from __future__ import annotations

from dataclasses import dataclass, replace

from codexproxy.http import Headers
from proxy import limits
from proxy.affinity import TURN_STATE
from proxy.attempts import Turn
from proxy.call import Call
from proxy.dialects.codex import CodexRequest
from proxy.headers import forwarded, minimal, with_types
from proxy.sinks import PassedOn
from proxy.stream import OnRateLimits, Reader
from proxy.transport import MadeReply, Reply
from proxy.turns import serve_turn
from proxy.upstream import Upstream
from proxy.whole import WholeBody


@dataclass(frozen=True, slots=True)
class Forward:
    """What goes to upstream. `holds` names a field without which the answer is none."""

    method: str
    path: str
    body: bytes = b""
    content_type: bytes = b"application/json"
    holds: str = ""
    # The answer where upstream has nothing, and says so with a 404.
    nothing: bytes = b""
    # With the headers that name the conversation.
    is_of_conversation: bool = False


@dataclass(frozen=True, slots=True)
class Forwarding:
    """One of them; a `Transport`. The sink answers with the status that comes."""

    upstream: Upstream
    forward: Forward
    sink: PassedOn
    holder: str | None = None

    async def respond(self, account_id: str, headers: Headers, body: bytes) -> Reply:
        sent = with_types(headers, self.forward.content_type)
        reply: Reply = await self.upstream.forward(self.forward.method, self.forward.path, sent, body)
        if reply.status == 404 and self.forward.nothing:
            await reply.close()
            reply = MadeReply(200, reply.headers, self.forward.nothing)
        self.sink.status = reply.status
        return reply

    def reader(self, on_rate_limits: OnRateLimits) -> Reader:
        return WholeBody(limits.WHOLE_BODY_LIMIT, holds=self.forward.holds)


async def forward_call(
    call: Call, forward: Forward, sink: PassedOn, *, conversation: str = "", owner: str | None = None
) -> None:
    """`owner` is the only account that can answer. Raises Busy, and ProxyError for a key over its limit."""
    call.record.conversation = conversation
    await call.runtime.recall(conversation)
    services = call.runtime.services
    passed = forwarded(call.scope["headers"])
    turn = Turn(
        request=CodexRequest(forward.body, "", None, "", None, has_compaction=False),
        passed=passed if forward.is_of_conversation else minimal(passed),
        conversation=conversation,
        turn_state=call.headers.get(TURN_STATE, ""),
        record=call.record,
        native=call.scope["path"].startswith("/backend-api"),
        accounts=call.access.accounts,
        file_owner=owner,
        transport=Forwarding(services.upstream, forward, sink),
    )
    # It says nothing of tokens: a key with limits must have room, whatever the body weighs.
    claim = replace(turn.request, body=b"", model=call.record.model)
    async with call.runtime.admission.turn(call.access, claim, call.record, native=turn.native):
        await serve_turn(call, turn, sink)
