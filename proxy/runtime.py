"""What one process keeps running for the data plane; started once, stopped in order."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.db import DatabaseError, connection

from accounts import changes
from accounts.encryption_check import verify_key
from accounts.models import Account
from accounts.tokens import TokenRefresher
from codexproxy import processes
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
from proxy.ledger import DatabaseLedger
from proxy.metrics import metrics
from proxy.pool import Pool, candidates_of
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

logger = logging.getLogger(__name__)

T = TypeVar("T")


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
        # After a look-up that failed there is none for a while.
        self._recalls_from = 0.0
        self._shares_conversations = connection.vendor != "sqlite" or processes.count() > 1

    def begin_drain(self) -> None:
        self.is_draining = True
        for socket in list(self.client_sockets):
            socket.end_after_turn()

    async def start(self) -> None:
        """Raises EncryptionKeyError: nothing is served, or written, under another key than the data's."""
        await self.threads.snapshots.run(verify_key)
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

    async def stop(self) -> bool:
        """Everything learned, every record and every new token is written before this returns; False where
        the database did not take it.

        What fails here keeps nothing after it from being written and closed.
        """
        changes.unsubscribe(self._notice)
        async with AsyncExitStack() as ending:
            # The last one pushed goes first.
            for step in (self.threads.close, self.client.close, self._write_all, self._end_tasks):
                ending.push_async_callback(step)
        return self.writer.is_written and self._ledger.is_written and self.refresher.is_ended_well

    async def _write_all(self) -> None:
        """All at once, in threads of their own: what one waits for must not cost the others their time."""
        steps = (
            self.refresher.end(),
            self.writer.stop(),
            self._reservations.stop(),
            self._ledger.stop(),
            self._store_changed_conversations(),
            self._store_refused(),
        )
        for result in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def recall(self, key: str) -> None:
        """Where several processes serve, another one may know this conversation."""
        if not key or not self._shares_conversations or self._loop.time() < self._recalls_from:
            return
        if self.affinity.get(key, time.time()) is not None:
            return
        try:
            async with asyncio.timeout(limits.RECALL_TIMEOUT_S):
                entry = await self.threads.snapshots.run(remembered_conversation, key)
        except (DatabaseError, TimeoutError):
            # The choice goes on without: a request must not fail, or wait, for what is a preference.
            self._recalls_from = self._loop.time() + limits.RECALL_PAUSE_S
            logger.warning("the database cannot be asked for conversations now", exc_info=True)
            return
        if entry is not None:
            self.affinity.load(key, entry)

    async def share(self) -> None:
        """What was just assigned is written now where another process may be asked next."""
        if self._shares_conversations:
            await self._store_changed_conversations()

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
            except Exception:  # noqa: BLE001 - an outer edge: whoever stops looking learns of no revoked key
                logger.exception("what has changed cannot be taken over; going on with what is known")

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
            self.gatekeeper.put_back(refused)
            logger.warning("%d refusals of the firewall are not written yet", len(refused), exc_info=True)

    async def _store_changed_conversations(self) -> None:
        entries = self.affinity.take_changed()
        if not entries:
            return
        try:
            await self.threads.services.run(conversations_store, entries=entries)
        except DatabaseError:
            self.affinity.put_back(key for key, _ in entries)
            logger.warning("%d conversations are not written yet", len(entries), exc_info=True)


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


def catch_up() -> None:
    """For a page that shows the database beside what this process knows: the two say the same.

    Somebody who has just paused an account, perhaps in another process, must not read that it serves.
    The wait is bounded; after it, the page shows what is known.
    """
    running = running_runtime()
    if running is None or changes.current_version() == running.pool.version:
        return
    try:
        in_runtime(Runtime.refresh_snapshot, limits.CATCH_UP_S)
    except TimeoutError:
        logger.warning("the accounts could not be read anew within %.0f s", limits.CATCH_UP_S)


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
    """The same for a request that names no model; the accounts come with their windows."""
    running = running_runtime()
    if running is None:
        return candidates_of(Snapshot(0, candidate_views(accounts)))
    return [replace(candidate) for candidate in list(running.pool.candidates())]


async def stop_runtime() -> bool:
    """Whether everything could be written."""
    global _runtime
    if _runtime is not None:
        task, _runtime = _runtime[1], None
        await asyncio.wait({task})
        if not _has_failed(task):
            return await task.result().stop()
    return True
