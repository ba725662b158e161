"""Writes request records in groups: never in a stream's way, nothing lost on a clean stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import asdict

from django.db import DatabaseError, transaction

from codexproxy.db import DatabaseThread
from codexproxy.tasks import spawn
from requestlogs.models import RequestRecord
from requestlogs.records import Record
from usage.pricing import cost_usd

logger = logging.getLogger(__name__)

GROUP = 500
RETRY_S = (0.1, 0.3, 1.0, 3.0, 5.0)
STOP_S = 10.0
WARN_EVERY_S = 60.0


class RecordWriter:
    """One task takes what waits, writes it in one transaction, and takes again; there is no timer."""

    def __init__(self, thread: DatabaseThread, *, capacity: int = 10_000) -> None:
        self._thread = thread
        self._capacity = capacity
        self._waiting: deque[Record] = deque()
        self._something_waits = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._warned_at = 0.0
        self.written = 0
        self.dropped = 0
        self.failed = 0

    @property
    def pending(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        self._task = spawn(self._write_on(), name="record writer")

    def put(self, record: Record) -> None:
        """Returns at once. Over capacity the record is counted as dropped."""
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            if time.monotonic() - self._warned_at > WARN_EVERY_S:
                self._warned_at = time.monotonic()
                logger.error("%d request records were dropped: the database is too slow", self.dropped)
            return
        self._waiting.append(record)
        self._something_waits.set()

    async def stop(self) -> None:
        """Write everything that waits, then end."""
        self._stopping = True
        self._something_waits.set()
        if self._task is not None:
            await self._task

    async def _write_on(self) -> None:
        while True:
            await self._something_waits.wait()
            if not self._waiting:
                if self._stopping:
                    return
                self._something_waits.clear()
                continue
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            await self._write(group)

    async def _write(self, group: list[Record]) -> None:
        deadline = time.monotonic() + STOP_S
        attempt = 0
        while True:
            try:
                await self._thread.run(records_store, group)
            except DatabaseError:
                if attempt < len(RETRY_S) and not (self._stopping and time.monotonic() > deadline):
                    logger.warning("%d request records could not be written yet", len(group), exc_info=True)
                    await asyncio.sleep(RETRY_S[attempt])
                    attempt += 1
                    continue
                await self._write_each(group)
                return
            self.written += len(group)
            return

    async def _write_each(self, group: list[Record]) -> None:
        """One row that the database refuses must not take the others with it."""
        for record in group:
            try:
                await self._thread.run(records_store, [record])
            except DatabaseError:
                self.failed += 1
                logger.exception("the record of request %s is lost", record.request_id)
            else:
                self.written += 1


@transaction.atomic
def records_store(group: list[Record]) -> None:
    RequestRecord.objects.bulk_create([_row(record) for record in group])


def _row(record: Record) -> RequestRecord:
    tokens = record.tokens
    return RequestRecord(
        request_id=_text(record.request_id, 120),
        requested_at=record.requested_at,
        account_id=_text(record.account_id, 200),
        api_key_id=record.api_key_id,
        client=_text(record.client, 200),
        client_address=_text(record.client_address, 64),
        path=_text(record.path, 200),
        transport=_text(record.transport, 12),
        conversation=_text(record.conversation, 200),
        model=_text(record.model, 120),
        reasoning_effort=None if record.reasoning_effort is None else _text(record.reasoning_effort, 20),
        service_tier=_text(record.service_tier, 20),
        status=record.status,
        status_code=record.status_code,
        error_code=None if record.error_code is None else _text(record.error_code, 80),
        error_message=_text(record.error_message, 2000),
        input_tokens=tokens.input,
        cached_input_tokens=tokens.cached_input,
        output_tokens=tokens.output,
        reasoning_tokens=tokens.reasoning,
        cost_usd=cost_usd(record.model, tokens, record.service_tier),
        latency_ms=record.latency_ms,
        first_token_ms=record.first_token_ms,
        attempts=[asdict(attempt) for attempt in record.attempts],
        routing=record.routing,
    )


def _text(value: str, size: int) -> str:
    # PostgreSQL refuses NUL in text.
    return value.replace("\x00", "")[:size]
