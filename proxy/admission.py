"""What a turn needs before it may go out, whichever way it came: a place here, one under its key, room in
the key's limits. All of it is given back at the turn's end, however that comes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from proxy import limits
from proxy.access import Access
from proxy.budgets import (
    NOTHING,
    Claim,
    Held,
    OverLimit,
    Settlement,
    estimate,
    over_limit,
    spent,
    taken_along,
)
from proxy.dialects.codex import CodexRequest
from proxy.errors import Busy, ProxyError
from proxy.keys import KeyView
from proxy.reservations import LimitsUnavailable, Reservations
from requestlogs.records import Record
from usage.pricing import PUBLISHED


class Admission:
    """One in each process. `has_limits` is asked at a turn's end: its key may have got some meanwhile."""

    def __init__(
        self,
        reservations: Reservations,
        has_limits: Callable[[int], bool],
        *,
        capacity: int = limits.TURNS_IN_FLIGHT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reservations = reservations
        self._has_limits = has_limits
        self._capacity = capacity
        self._clock = clock
        self._by_key: Counter[int] = Counter()
        # Whoever follows the settings keeps them true.
        self.prices = PUBLISHED
        self.in_flight = 0

    def turn(self, access: Access, request: CodexRequest, record: Record, *, native: bool) -> Admitted:
        """Around one turn, from before its first attempt until its record is complete.

        To enter it raises Busy, and ProxyError for a key over its limit.
        """
        return Admitted(self, access.key, request, record, native)

    def take_place(self, key: KeyView | None) -> None:
        """Raises Busy."""
        if self.in_flight >= self._capacity:
            raise Busy(
                "The server is busy: it answers as many requests as it can.", limits.BUSY_RETRY_AFTER_S
            )
        if key is not None and key.max_parallel is not None and self._by_key[key.id] >= key.max_parallel:
            raise Busy(
                f"This API key may have {key.max_parallel} requests running at once.",
                limits.KEY_BUSY_RETRY_AFTER_S,
                "rate_limit_exceeded",
            )
        self.in_flight += 1
        if key is not None:
            self._by_key[key.id] += 1

    def leave_place(self, key: KeyView | None) -> None:
        self.in_flight -= 1
        if key is not None:
            self._by_key[key.id] -= 1
            if not self._by_key[key.id]:
                del self._by_key[key.id]

    async def hold(self, key: KeyView, request: CodexRequest, *, native: bool) -> Held:
        """Room in the key's limits. Raises ProxyError."""
        amounts = estimate(request.size, request.model, request.service_tier, self.prices)
        try:
            answer = await self._reservations.reserve(Claim(key.id, _limited_as(request), amounts))
        except LimitsUnavailable:
            # SECURITY: a budget that cannot be looked at is not an open one.
            raise ProxyError(
                503,
                "limits_unavailable",
                "The limits of this API key cannot be checked now. Try again in a moment.",
                "server_error",
                headers=((b"retry-after", b"%d" % limits.BUSY_RETRY_AFTER_S),),
            ) from None
        if isinstance(answer, OverLimit):
            raise over_limit(answer, native=native, now=self._clock())
        return answer

    def settle(self, key: KeyView, request: CodexRequest, record: Record, held: Held | None) -> None:
        """What the ended turn has used, in place of what it held."""
        if held is None and not self._has_limits(key.id):
            return
        used = spent(record, self.prices)
        if used is NOTHING:
            used = taken_along(record, request.size, self.prices)
        self._reservations.settle(Settlement(key.id, _limited_as(request), used, held))


class Admitted:
    """One turn that may go out, for an `async with`: as a generator it would cost more than it does."""

    __slots__ = ("_admission", "_key", "_request", "_record", "_native", "_held")

    def __init__(
        self, admission: Admission, key: KeyView | None, request: CodexRequest, record: Record, native: bool
    ) -> None:
        self._admission, self._key, self._native = admission, key, native
        self._request, self._record = request, record
        self._held: Held | None = None

    async def __aenter__(self) -> None:
        key, is_admitted = self._key, False
        self._admission.take_place(key)
        try:
            if key is not None and key.has_limits:
                self._held = await self._admission.hold(key, self._request, native=self._native)
            is_admitted = True
        finally:
            if not is_admitted:
                self._admission.leave_place(key)

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._key is not None:
                self._admission.settle(self._key, self._request, self._record, self._held)
        finally:
            self._admission.leave_place(self._key)


def _limited_as(request: CodexRequest) -> str:
    """The model that limits know it by: the one that is on record."""
    return request.known_as or request.model
