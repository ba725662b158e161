"""The endpoints that compact a conversation: one JSON answer, over the same attempts as a turn."""

from __future__ import annotations

from proxy.call import Call, whole_body
from proxy.compact_transport import Compacting
from proxy.dialects.compact import CompactRequest, read_compact_request, read_v1_compact_request
from proxy.sinks import PassedOn
from proxy.turns import answer_turn


async def codex_compact(call: Call) -> None:
    """POST …/codex/responses/compact: upstream's answer, unchanged."""
    await _compact(call, read_compact_request(await whole_body(call)), native=True)


async def v1_compact(call: Call) -> None:
    """POST /v1/responses/compact."""
    request = read_v1_compact_request(
        await whole_body(call), call.access.owner, call.runtime.catalogue.models
    )
    await _compact(call, request, native=False)


async def _compact(call: Call, request: CompactRequest, *, native: bool) -> None:
    call.transport = Compacting(call.runtime.compact_endpoint)
    sink = PassedOn(call.answer)
    await answer_turn(call, request.upstream, sink, native=native, has_derived_key=request.has_derived_key)
