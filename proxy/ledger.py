"""Writes what the pool has learned of its accounts, as soon as the database takes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from django.db import DatabaseError, InterfaceError, OperationalError

from accounts.services import account_block, account_deactivate, account_require_sign_in, account_unblock
from codexproxy.db import DatabaseThread
from codexproxy.tasks import spawn
from proxy import limits
from proxy.pool import Member, Pool
from usage.services import sample_store
from usage.windows import Sample

logger = logging.getLogger(__name__)

# The database is locked or away, which passes.
_PASSING = (OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True)
class _Entry:
    account_id: str
    member: Member | None
    write: Callable[[], int | None]


class DatabaseLedger:
    """One write after another; while the database is locked or away, what was learned waits.

    Of each kind of news of an account only the newest waits: there are as many entries as accounts have
    kinds of news, however long it takes. Belongs to one event loop, whose `clock` and `sleep` these are.
    """

    def __init__(
        self,
        thread: DatabaseThread,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._thread = thread
        self._clock = clock
        self._sleep = sleep
        self._pool: Pool | None = None
        self._waiting: OrderedDict[tuple[str, Hashable], _Entry] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        # Set by `stop`: when to give up on a database that does not come back.
        self._deadline: float | None = None
        # False once `stop` has given up on the database.
        self.is_written = True

    def attach(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def pending(self) -> int:
        return len(self._waiting)

    async def stop(self) -> None:
        """Write everything that waits; a database that is away gets a few seconds to come back."""
        self._deadline = self._clock() + limits.LEDGER_STOP_S
        if self._task is not None:
            await self._task

    def block(self, member: Member) -> None:
        candidate = member.candidate
        write = partial(
            account_block,
            account_id=candidate.account_id,
            status=candidate.status,
            reason=candidate.reason,
            blocked_at=_moment(candidate.blocked_at) or datetime.now(UTC),
            reset_at=_moment(candidate.reset_at),
            window_reset_at=_moment(candidate.block_window_reset_at),
        )
        self._put_last(candidate.account_id, "block", write)

    def unblock(self, account_id: str, cause: str, blocked_at: float | None) -> None:
        write = partial(account_unblock, account_id=account_id, cause=cause, blocked_at=_moment(blocked_at))
        self._put_last(account_id, "unblock", write)

    def sign_in_needed(self, account_id: str, reason: str, generation: int, code: str = "") -> None:
        about = {"account_id": account_id, "reason": reason, "code": code}
        write = partial(account_require_sign_in, generation=generation, **about)
        self._put_last(account_id, "sign-in needed", write)

    def deactivate(self, account_id: str, reason: str, code: str = "") -> None:
        write = partial(account_deactivate, account_id=account_id, reason=reason, code=code)
        self._put_last(account_id, "deactivate", write)

    def sample(self, account_id: str, sample: Sample) -> None:
        # A newer reading says all that an older one of the same shape did.
        windows = tuple(reading.window for reading in sample.windows)
        shape = (sample.source, windows, tuple(limit.limit_id for limit in sample.model_limits))
        self._put((account_id, shape), partial(sample_store, account_id=account_id, sample=sample))

    def _put_last(self, account_id: str, kind: str, write: Callable[[], int | None]) -> None:
        """A change of state comes after all others of its account, whatever it takes the place of."""
        self._put((account_id, kind), write)
        self._waiting.move_to_end((account_id, kind))

    def _put(self, key: tuple[str, Hashable], write: Callable[[], int | None]) -> None:
        account_id = key[0]
        superseded = self._waiting.get(key)
        member = self._pool.member(account_id) if self._pool else None
        if member is not None:
            member.writing()
        # In the place of the former one: news that never cease must not be put off for ever.
        self._waiting[key] = _Entry(account_id, member, write)
        if superseded is not None:
            _settle(superseded, None)
        if self._task is None or self._task.done():
            self._task = spawn(self._write_on(), name="what was learned of accounts")

    async def _write_on(self) -> None:
        while self._waiting:
            key, entry = self._waiting.popitem(last=False)
            try:
                version = await self._thread.run(entry.write)
            except _PASSING:
                self._put_back(key, entry)
                if self._deadline is not None and self._clock() >= self._deadline:
                    self._give_up()
                    return
                logger.warning("what was learned of accounts cannot be written yet", exc_info=True)
                await self._sleep(limits.LEDGER_PAUSE_S)
            except DatabaseError:
                logger.exception("what was learned of account %s is lost", entry.account_id)
                _settle(entry, None)
            else:
                _settle(entry, version)

    def _put_back(self, key: tuple[str, Hashable], entry: _Entry) -> None:
        if key in self._waiting:
            # Newer news of the same kind has come meanwhile.
            _settle(entry, None)
            return
        self._waiting[key] = entry
        self._waiting.move_to_end(key, last=False)

    def _give_up(self) -> None:
        self.is_written = False
        logger.exception("what was learned last of %d accounts is lost", len({k for k, _ in self._waiting}))
        for entry in self._waiting.values():
            _settle(entry, None)
        self._waiting.clear()


def _settle(entry: _Entry, version: int | None) -> None:
    if entry.member is not None:
        entry.member.written(version)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
