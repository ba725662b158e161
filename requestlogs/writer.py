"""Writes request records in groups: never in a stream's way, nothing lost on a clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from codexproxy.db import DatabaseThread
from codexproxy.tasks import spawn
from requestlogs.records import Record
from requestlogs.rollups import rollups_add
from requestlogs.rows import insert_rows, row_of
from usage.pricing import PUBLISHED, PriceBook

logger = logging.getLogger(__name__)

GROUP = 500
# Between two groups: at a steady load a commit for each request would take more than the request itself, and
# in a group of hundreds each costs a third of what it costs among ten. A crash takes what is younger.
REST_S = 0.2
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STOP_S = 10.0
WARN_EVERY_S = 60.0

# The database is locked or away: no fault of the rows, and it passes.
_PASSING = (OperationalError, InterfaceError)
# What a value that does not fit raises, in the database, its driver or while the row is made.
_UNWRITABLE = (DatabaseError, ValueError, TypeError, AttributeError, ArithmeticError)


class RecordWriter:
    """One task takes what waits, writes it in one transaction, rests, and takes again.

    Belongs to one event loop. `clock` and `sleep` are those of that loop.
    """

    def __init__(
        self,
        thread: DatabaseThread,
        *,
        capacity: int = 10_000,
        group: int = GROUP,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._thread = thread
        self._capacity = capacity
        self._group = group
        self._clock = clock
        self._sleep = sleep
        self._waiting: deque[Record] = deque()
        self._something_waits = asyncio.Event()
        self._ending = asyncio.Event()
        # Set by `stop`: when to give up on a database that does not come back.
        self._deadline: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._warned_at = float("-inf")
        self._in_hand = 0
        # Whoever follows the settings keeps them true.
        self.prices = PUBLISHED
        self.written = 0
        # False once `stop` has given up on the database.
        self.is_written = True
        self.dropped = 0
        self.failed = 0

    @property
    def pending(self) -> int:
        """Not written yet, those included that are being written."""
        return len(self._waiting) + self._in_hand

    async def start(self) -> None:
        self._task = spawn(self._write_on(), name="record writer")

    def put(self, record: Record) -> None:
        """Returns at once. Over capacity, and after the end, the record is counted as dropped."""
        has_ended = self._task is not None and self._task.done()
        if has_ended or len(self._waiting) >= self._capacity:
            self.dropped += 1
            if self._clock() - self._warned_at >= WARN_EVERY_S:
                self._warned_at = self._clock()
                logger.error("%d request records were dropped: the database is too slow", self.dropped)
            return
        self._waiting.append(record)
        self._something_waits.set()

    async def stop(self) -> None:
        """Write everything that waits, then end. A database that is away gets a few seconds to come back."""
        self._deadline = self._clock() + STOP_S
        self._something_waits.set()
        self._ending.set()
        if self._task is not None:
            await self._task

    async def _write_on(self) -> None:
        while True:
            await self._something_waits.wait()
            if not self._waiting:
                if self._deadline is not None:
                    return
                self._something_waits.clear()
                continue
            group = [self._waiting.popleft() for _ in range(min(self._group, len(self._waiting)))]
            self._in_hand = len(group)
            try:
                await self._write(group)
            except _PASSING:
                self._give_up()
            self._in_hand = 0
            if len(self._waiting) < self._group:
                await self._rest()

    async def _rest(self) -> None:
        """Until there is a group again, but not for long; the end cuts it short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                await self._ending.wait()

    async def _write(self, group: list[Record]) -> None:
        try:
            await self._store(group)
        except _PASSING:
            raise
        except _UNWRITABLE:
            await self._write_each(group)

    async def _write_each(self, group: list[Record]) -> None:
        """One row that the database refuses must not take the others with it."""
        for record in group:
            try:
                await self._store([record])
            except _PASSING:
                raise
            except _UNWRITABLE:
                self.failed += 1
                self._in_hand -= 1
                logger.exception("the record of request %s is lost", record.request_id)

    async def _store(self, group: list[Record]) -> None:
        """Again and again while the database is locked or away: the queue fills, and nothing is lost."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._thread.run(records_store, group, self.prices)
            except _PASSING:
                if self._deadline is not None and self._clock() >= self._deadline:
                    raise
                logger.warning("%d request records could not be written yet", len(group), exc_info=True)
                await self._sleep(FIRST_PAUSE_S if self._deadline is not None else pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self.written += len(group)
                self._in_hand -= len(group)
                return

    def _give_up(self) -> None:
        """The process ends and the database did not come back: a further try would only take longer."""
        lost = self.pending
        self.is_written = False
        self._waiting.clear()
        self.failed += lost
        logger.exception("%d request records are lost: the database cannot be written to", lost)


@transaction.atomic
def records_store(group: list[Record], prices: PriceBook = PUBLISHED) -> None:
    rows = [row_of(record, prices) for record in group]
    insert_rows(rows)
    rollups_add(rows)
