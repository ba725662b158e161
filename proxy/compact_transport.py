"""How an account is asked for a compaction: at upstream's endpoint, or where there is none by a turn."""

from __future__ import annotations

import logging
from collections.abc import Callable

from codexproxy.http import Headers
from proxy import limits
from proxy.dialects.compact import as_turn
from proxy.headers import with_types
from proxy.stream import OnRateLimits, Reader
from proxy.transport import MadeReply, Reply
from proxy.upstream import Upstream, refusal_of
from proxy.whole import FoldedCompaction, WholeBody

logger = logging.getLogger(__name__)

_MISSING = frozenset({404, 405, 501})
_PATH = "/codex/responses/compact"


class CompactEndpoint:
    """What all compactions of this process share. `clock` counts seconds from anywhere."""

    def __init__(self, upstream: Upstream, clock: Callable[[], float]) -> None:
        self.upstream = upstream
        self._clock = clock
        self._missing_until = float("-inf")

    @property
    def is_missing(self) -> bool:
        return self._clock() < self._missing_until

    async def ask(self, headers: Headers, body: bytes) -> Reply | None:
        """None when there is no such endpoint. Raises TransportFailed."""
        response = await self.upstream.forward("POST", _PATH, with_types(headers), body)
        if response.status not in _MISSING:
            return response
        try:
            refusal = await refusal_of(response)
        finally:
            await response.close()
        if refusal.code == "model_not_found":
            return MadeReply(response.status, response.headers, refusal.body)
        logger.warning("upstream has no endpoint for compactions (%d); turns do it", response.status)
        self._missing_until = self._clock() + limits.COMPACT_MISSING_S
        return None


class Compacting:
    """The compaction of one request; a `Transport`."""

    holder = None

    def __init__(self, endpoint: CompactEndpoint) -> None:
        self._endpoint = endpoint
        self._is_turn = False

    async def respond(self, account_id: str, headers: Headers, body: bytes) -> Reply:
        self._is_turn = False
        if not self._endpoint.is_missing:
            reply = await self._endpoint.ask(headers, body)
            if reply is not None:
                return reply
        self._is_turn = True
        return await self._endpoint.upstream.respond(headers, as_turn(body))

    def reader(self, on_rate_limits: OnRateLimits) -> Reader:
        if self._is_turn:
            return FoldedCompaction(on_rate_limits)
        return WholeBody(limits.WHOLE_BODY_LIMIT, holds="output")
