"""What one process keeps running for the data plane; started once, stopped in order."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.db import DatabaseError, connection

from accounts import changes
from accounts.models import Account
from accounts.services import account_block, account_deactivate, account_require_sign_in, account_unblock
from accounts.tokens import TokenRefresher
from codexproxy.db import DatabaseThread
from codexproxy.http import HttpClient
from codexproxy.tasks import spawn
from proxy import limits
from proxy.access import AccessRules
from proxy.admission import Admission
from proxy.affinity import Affinity
from proxy.attempts import Services
from proxy.catalogue import Catalogue, CatalogueCache, Key
from proxy.compact_transport import CompactEndpoint
from proxy.firewall_services import refusals_store
from proxy.gatekeeper import Gatekeeper
from proxy.metrics import metrics
from proxy.pool import Member, Pool, candidates_of
from proxy.reservations import Reservations
from proxy.routing import Candidate
from proxy.selectors import (
    candidate_views,
    load_snapshot,
    purged_conversations,
    remembered_catalogues,
    remembered_conversation,
    remembered_conversations,
)
from proxy.services import catalogue_store, conversations_store
from proxy.snapshot import Snapshot
from proxy.upstream import Upstream
from proxy.upstream_socket import UpstreamSockets
from requestlogs.writer import RecordWriter
from usage.services import sample_store
from usage.windows import Sample

logger = logging.getLogger(__name__)

T = TypeVar("T")


class DatabaseLedger:
    """Writes what the pool has learned: at once, in the order in which it was learned."""

    def __init__(self, thread: DatabaseThread) -> None:
        self._thread = thread
        self._pool: Pool | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    def attach(self, pool: Pool) -> None:
        self._pool = pool

    async def flush(self) -> None:
        while self._waiting:
            await asyncio.wait(self._waiting)

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
        self._write(candidate.account_id, write)

    def unblock(self, account_id: str, cause: str, blocked_at: float | None) -> None:
        moment = _moment(blocked_at)
        self._write(
            account_id, lambda: account_unblock(account_id=account_id, cause=cause, blocked_at=moment)
        )

    def sign_in_needed(self, account_id: str, reason: str, generation: int) -> None:
        self._write(
            account_id,
            lambda: account_require_sign_in(account_id=account_id, reason=reason, generation=generation),
        )

    def deactivate(self, account_id: str, reason: str) -> None:
        self._write(account_id, lambda: account_deactivate(account_id=account_id, reason=reason))

    def sample(self, account_id: str, sample: Sample) -> None:
        self._write(account_id, lambda: sample_store(account_id=account_id, sample=sample))

    def _write(self, account_id: str, function: Callable[[], int | None]) -> None:
        task = spawn(self._written(account_id, function), name=f"write what was learned of {account_id}")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _written(self, account_id: str, function: Callable[[], int | None]) -> None:
        member = self._pool.member(account_id) if self._pool else None
        if member is not None:
            member.writing()
        version: int | None = None
        try:
            version = await self._thread.run(function)
        except DatabaseError:
            logger.exception("what was learned of account %s could not be written", account_id)
        finally:
            if member is not None:
                member.written(version)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@dataclass(slots=True)
class Threads:
    """A thread for each kind of database work, so that none waits behind another."""

    snapshots: DatabaseThread
    services: DatabaseThread
    records: DatabaseThread
    # Room in keys' limits: requests wait for it.
    limits: DatabaseThread
    # What clients ask to see.
    reads: DatabaseThread

    @classmethod
    def started(cls) -> Threads:
        return cls(*(DatabaseThread(field.name) for field in fields(cls)))

    async def close(self) -> None:
        for field in fields(self):
            await asyncio.to_thread(getattr(self, field.name).close)


class EndsAfterTurn(Protocol):
    def end_after_turn(self) -> None: ...


class Runtime:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self.threads = Threads.started()
        self.client = HttpClient()
        ledger = DatabaseLedger(self.threads.services)
        self.pool = Pool(ledger, time.time, random.Random())  # noqa: S311 - a choice, not a secret
        ledger.attach(self.pool)
        self._ledger = ledger
        self.affinity = Affinity()
        self.refresher = TokenRefresher(
            client=self.client, thread=self.threads.services, auth_base_url=settings.AUTH_BASE_URL
        )
        self._upstream = Upstream(self.client, settings.UPSTREAM_BASE_URL)
        self.services = Services(self.pool, self.affinity, self._upstream, self.refresher, time.time)
        self.sockets = UpstreamSockets(
            self.client, settings.UPSTREAM_BASE_URL, self._upstream, asyncio.get_running_loop().time
        )
        self.compact_endpoint = CompactEndpoint(self._upstream, asyncio.get_running_loop().time)
        # Each ends after its running turn when the process is to end.
        self.client_sockets: set[EndsAfterTurn] = set()
        self.is_draining = False
        self.catalogue = CatalogueCache(self.services, self._keep_catalogue)
        self.writer = RecordWriter(self.threads.records, capacity=limits.RECORDS_WAITING)
        self.gatekeeper = Gatekeeper(AccessRules(settings.TRUSTED_PROXIES, settings.NAMED_HOSTS), time.time)
        self._reservations = Reservations(self.threads.limits)
        self.admission = Admission(self._reservations, self._has_limits)
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._limited: set[int] = set()
        self._shares_conversations = connection.vendor != "sqlite"

    def begin_drain(self) -> None:
        self.is_draining = True
        for socket in list(self.client_sockets):
            socket.end_after_turn()

    async def start(self) -> None:
        await self.refresh_snapshot()
        for key, entry in await self.threads.snapshots.run(remembered_conversations):
            self.affinity.load(key, entry)
        for known, catalogue in await self.threads.snapshots.run(remembered_catalogues):
            self.catalogue.load(known, catalogue)
        await self.writer.start()
        await self._reservations.start()
        changes.subscribe(self._notice)
        self._tasks = [
            spawn(self._follow_changes(), name="snapshot"),
            spawn(self._store_on(), name="conversations and refusals"),
            spawn(metrics().follow(lambda: self.writer.dropped + self.writer.failed), name="metrics"),
        ]

    async def stop(self) -> None:
        """Everything learned and every record is written before this returns.

        What fails here keeps nothing after it from being written and closed.
        """
        changes.unsubscribe(self._notice)
        async with AsyncExitStack() as ending:
            # The last one pushed goes first.
            for step in (
                self.threads.close,
                self.client.close,
                self.writer.stop,
                self._reservations.stop,
                self._store_refused,
                self._store_changed_conversations,
                self._ledger.flush,
                self._end_tasks,
            ):
                ending.push_async_callback(step)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def recall(self, key: str) -> None:
        """Where several processes serve, another one may know this conversation."""
        if key and self._shares_conversations and self.affinity.get(key, time.time()) is None:
            entry = await self.threads.snapshots.run(remembered_conversation, key)
            if entry is not None:
                self.affinity.load(key, entry)

    async def refresh_snapshot(self) -> None:
        snapshot = await self.threads.snapshots.run(load_snapshot)
        for key, at in await self.threads.snapshots.run(purged_conversations):
            self.affinity.purge(key, at)
        self.pool.swap(snapshot)
        self.gatekeeper.take(snapshot.access)
        self.affinity.ages = snapshot.settings.ages
        self.writer.prices = self.admission.prices = snapshot.prices
        self._upstream.silence_s = snapshot.settings.upstream_silence_s
        self._limited = {key.id for key in snapshot.access.keys.values() if key.has_limits}

    def _has_limits(self, key_id: int) -> bool:
        return key_id in self._limited

    def _keep_catalogue(self, key: Key, catalogue: Catalogue) -> None:
        spawn(self._store_catalogue(key, catalogue), name="catalogue")

    async def _store_catalogue(self, key: Key, catalogue: Catalogue) -> None:
        write = partial(catalogue_store, key=key, catalogue=catalogue)
        try:
            await self.threads.services.run(write)
        except DatabaseError:
            logger.warning("the catalogue of models could not be written", exc_info=True)

    def _notice(self) -> None:
        """Called from whichever thread has changed something."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def _follow_changes(self) -> None:
        while True:
            try:
                async with asyncio.timeout(limits.SNAPSHOT_POLL_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                version = await self.threads.snapshots.run(changes.current_version)
                if version != self.pool.version:
                    await self.refresh_snapshot()
            except DatabaseError:
                logger.warning("the database cannot be read; going on with what is known", exc_info=True)

    async def _store_on(self) -> None:
        while True:
            await asyncio.sleep(limits.AFFINITY_FLUSH_S)
            await self._store_changed_conversations()
            await self._store_refused()

    async def _store_refused(self) -> None:
        refused = self.gatekeeper.take_refused()
        if not refused:
            return
        try:
            await self.threads.services.run(refusals_store, refused=refused)
        except DatabaseError:
            logger.warning("%d refusals of the firewall could not be written", len(refused), exc_info=True)

    async def _store_changed_conversations(self) -> None:
        entries = self.affinity.take_changed()
        if not entries:
            return
        try:
            await self.threads.services.run(conversations_store, entries=entries)
        except DatabaseError:
            logger.warning("%d conversations could not be written", len(entries), exc_info=True)


_runtime: tuple[asyncio.AbstractEventLoop, asyncio.Task[Runtime]] | None = None


async def runtime() -> Runtime:
    """This loop's runtime, started by the first who asks (Daphne has no start-up event)."""
    global _runtime
    loop = asyncio.get_running_loop()
    if _runtime is None or _runtime[0] is not loop or _has_failed(_runtime[1]):
        _runtime = (loop, spawn(_started(), name="start"))
    task = _runtime[1]
    return task.result() if task.done() else await asyncio.shield(task)


async def _started() -> Runtime:
    running = Runtime()
    try:
        await running.start()
    except BaseException:
        # What has been opened by then must not outlive it.
        await running.stop()
        raise
    return running


def _has_failed(task: asyncio.Task[Runtime]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def running_runtime() -> Runtime | None:
    """This process's runtime, where it has one that has started; for other threads to look at."""
    task = _runtime[1] if _runtime is not None else None
    if task is None or not task.done() or _has_failed(task):
        return None
    return task.result()


class NotServing(Exception):
    """This process serves no clients, so that it has no runtime."""


def in_runtime(work: Callable[[Runtime], Coroutine[Any, Any, T]], timeout_s: float) -> T:
    """Done in this process's event loop, for another thread. Raises NotServing and TimeoutError."""
    running = running_runtime()
    if running is None or _runtime is None:
        raise NotServing
    return asyncio.run_coroutine_threadsafe(work(running), _runtime[0]).result(timeout_s)


def drain_sockets() -> None:
    """Sockets end after their turn; clients connect again, to whoever listens then."""
    if (running := running_runtime()) is not None:
        running.begin_drain()


def record_counts() -> dict[str, int]:
    """What this process's writer has done; zeros before the first request."""
    running = running_runtime()
    if running is None:
        return {"written": 0, "pending": 0, "dropped": 0, "failed": 0}
    writer = running.writer
    return {
        "written": writer.written,
        "pending": writer.pending,
        "dropped": writer.dropped,
        "failed": writer.failed,
    }


def pool_now(model: str) -> tuple[list[Candidate], frozenset[str]]:
    """Copies of the accounts as this process sees them, and the plans that are known to lack a model.

    Where no request was served here yet, as the database has them.
    """
    running = running_runtime()
    if running is None:
        return candidates_of(load_snapshot()), frozenset()
    found = [replace(candidate) for candidate in list(running.pool.candidates())]
    return found, running.catalogue.plans_without(model) if model else frozenset()


def candidates_now(accounts: Iterable[Account]) -> list[Candidate]:
    """The same for a request that names no model, without a query: the accounts come with their windows."""
    running = running_runtime()
    if running is None:
        return candidates_of(Snapshot(0, candidate_views(accounts)))
    return [replace(candidate) for candidate in list(running.pool.candidates())]


async def stop_runtime() -> None:
    global _runtime
    if _runtime is not None:
        task, _runtime = _runtime[1], None
        await asyncio.wait({task})
        if not _has_failed(task):
            await task.result().stop()
