"""Asks the database for room in keys' limits, in groups: it takes what waits, commits once, answers all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError, OperationalError

from codexproxy.db import DatabaseThread
from codexproxy.tasks import spawn
from proxy import limits
from proxy.budgets import NOTHING, Claim, Held, OverLimit, Settlement
from proxy.reservation_services import limits_apply, reservations_prolong

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Waiting = tuple[Claim, asyncio.Future[Held | OverLimit]]

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STOP_S = 10.0

# The database is locked or away, which passes.
_PASSING = (OperationalError, InterfaceError)


class LimitsUnavailable(Exception):
    """The limits cannot be read now; a request that depends on them must not go out."""


class Reservations:
    """Belongs to one event loop. Whoever has no limits never comes here."""

    def __init__(
        self,
        thread: DatabaseThread,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._thread = thread
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self.holder = uuid4()
        self._claims: deque[_Waiting] = deque()
        self._settlements: deque[Settlement] = deque()
        self._something_waits = asyncio.Event()
        # Somebody waits for it to be done.
        self._hurry = asyncio.Event()
        self._outstanding: set[UUID] = set()
        self._deadline: float | None = None
        # How many claims the last group had.
        self._had = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            spawn(self._work_on(), name="reservations"),
            spawn(self._prolong_on(), name="reservations that are held"),
        ]

    async def stop(self) -> None:
        """Settle everything that waits, then end."""
        self._deadline = self._clock() + STOP_S
        self._something_waits.set()
        self._hurry.set()
        if self._tasks:
            work, prolonging = self._tasks
            await work
            prolonging.cancel()
            await asyncio.gather(prolonging, return_exceptions=True)

    async def reserve(self, claim: Claim) -> Held | OverLimit:
        """Raises LimitsUnavailable. Who is cancelled while waiting holds nothing afterwards."""
        answer: asyncio.Future[Held | OverLimit] = asyncio.get_running_loop().create_future()
        self._claims.append((claim, answer))
        self._something_waits.set()
        self._hurry.set()
        try:
            async with asyncio.timeout(limits.RESERVE_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise LimitsUnavailable from None
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                # Answered in the very moment of the cancellation.
                self._release(answer.result())
            raise

    def settle(self, settlement: Settlement) -> None:
        """Returns at once; settlements and later claims of this process keep their order."""
        self._settlements.append(settlement)
        self._something_waits.set()

    def _release(self, answer: Held | OverLimit) -> None:
        if isinstance(answer, Held):
            self.settle(Settlement(answer.claim.key_id, answer.claim.model, NOTHING, answer))

    async def _work_on(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._something_waits.wait()
            await self._company()
            claims = _taken(self._claims)
            settlements = _taken(self._settlements)
            self._had = len(claims)
            if not claims and not settlements:
                if self._deadline is not None:
                    return
                self._something_waits.clear()
                continue
            try:
                await self._apply(claims, settlements)
                pause_s = FIRST_PAUSE_S
            except _PASSING:
                logger.warning("the limits of API keys cannot be changed now", exc_info=True)
                if self._deadline is not None and self._clock() >= self._deadline:
                    logger.error("%d requests were not settled with their keys' limits", len(settlements))
                    continue
                self._settlements.extendleft(reversed(settlements))
                await self._sleep(FIRST_PAUSE_S if self._deadline is not None else pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            except DatabaseError:
                logger.exception("%d requests were not settled with their keys' limits", len(settlements))
            finally:
                _fail(claims)

    async def _company(self) -> None:
        """Settlements alone wait a moment for a claim to go with: nobody waits for them, and each
        transaction costs as much as the two together. Claims wait for others where many come.
        """
        if self._deadline is not None:
            return
        if not self._claims:
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.SETTLE_WITHIN_S):
                    await self._hurry.wait()
        if self._claims and self._had > 1:
            await self._sleep(limits.CLAIMS_WITHIN_S)

    async def _apply(self, claims: list[_Waiting], settlements: list[Settlement]) -> None:
        answers = await self._thread.run(
            limits_apply,
            holder=self.holder,
            claims=[claim for claim, _ in claims],
            settlements=settlements,
            now=self._now(),
        )
        self._outstanding -= {settlement.held.id for settlement in settlements if settlement.held}
        for (_, future), answer in zip(claims, answers, strict=True):
            if isinstance(answer, Held) and answer.amounts:
                self._outstanding.add(answer.id)
            if future.done():
                # Nobody waits any more.
                self._release(answer)
            else:
                future.set_result(answer)

    async def _prolong_on(self) -> None:
        while True:
            await self._sleep(limits.RESERVATION_PROLONG_S)
            if not self._outstanding:
                continue
            try:
                await self._thread.run(reservations_prolong, holder=self.holder, now=self._now())
            except DatabaseError:
                logger.warning("what requests hold of limits was not prolonged", exc_info=True)


def _taken(waiting: deque[T]) -> list[T]:
    return [waiting.popleft() for _ in range(min(limits.RESERVATIONS_GROUP, len(waiting)))]


def _fail(claims: list[_Waiting]) -> None:
    """Whoever has no answer yet gets none."""
    for _, future in claims:
        if not future.done():
            future.set_exception(LimitsUnavailable())
