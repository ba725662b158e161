"""The background jobs: any process may run them, a lease sees to it that one does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from accounts import leases, sign_in
from accounts.models import JobRun
from accounts.tokens import refresh_due
from codexproxy.db import DatabaseThread
from codexproxy.notice_watch import deliver, look
from codexproxy.tasks import spawn
from proxy.reservation_services import reservations_reclaim
from proxy.retention import trim
from proxy.runtime import Runtime
from usage.refresh import UsageRefresher

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

TOKENS_EVERY_S = 60.0
# A page that is open asks by itself, at the pace that the sign-in service allows.
SIGN_INS_EVERY_S = 15.0
RETENTION_EVERY_S = 3600.0
RESERVATIONS_EVERY_S = 60.0
# Together the longest time between an event and the first try to tell it.
NOTICES_EVERY_S = 15.0
DELIVERIES_EVERY_S = 10.0
# A lease outlives the pause between two runs, so that the jobs stay with the process that has them.
SHORTEST_LEASE_S = 60.0
# The jobs of a process begin one after the other, and not in step with those of its neighbours.
STAGGER_S = 0.5
ERROR_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    every_s: float
    run: Callable[[], Awaitable[object]]

    @property
    def lease_s(self) -> float:
        return max(SHORTEST_LEASE_S, 2 * self.every_s)


def jobs(runtime: Runtime, thread: DatabaseThread, stop: asyncio.Event) -> list[Job]:
    """What has to be done from time to time."""
    usage = UsageRefresher(
        client=runtime.client,
        thread=thread,
        refresher=runtime.refresher,
        upstream_base_url=settings.UPSTREAM_BASE_URL,
        interval_s=settings.USAGE_REFRESH_INTERVAL_S,
        pause=partial(_pause, stop),
    )
    found = [
        Job(
            "refresh tokens before they expire",
            TOKENS_EVERY_S,
            lambda: refresh_due(runtime.refresher, thread, timezone.now(), stop.is_set),
        ),
        Job(
            "give back what ended processes held of limits",
            RESERVATIONS_EVERY_S,
            lambda: thread.run(reservations_reclaim, now=timezone.now()),
        ),
        Job("sign-ins that wait", SIGN_INS_EVERY_S, lambda: _advance_sign_ins(stop)),
        Job("look for what to tell", NOTICES_EVERY_S, lambda: thread.run(look, now=timezone.now())),
        Job(
            "send notices", DELIVERIES_EVERY_S, lambda: _unless_stopped(stop, deliver(runtime.client, thread))
        ),
        Job("retention", RETENTION_EVERY_S, lambda: thread.run(trim, now=timezone.now())),
    ]
    if settings.USAGE_REFRESH_INTERVAL_S > 0:
        found.append(Job("refresh usage", settings.USAGE_REFRESH_INTERVAL_S, usage.run))
    return found


async def run_jobs(
    jobs: list[Job], thread: DatabaseThread, stop: asyncio.Event, clock: Clock = timezone.now
) -> None:
    """Run every job at its interval until `stop`; a job that runs is waited for."""
    holder = uuid4()
    loops = []
    for position, job in enumerate(jobs):
        after_s = position * STAGGER_S * random.uniform(0.5, 1.0)
        loops.append(spawn(_run_on(job, holder, thread, stop, clock, after_s), name=job.name))
    await asyncio.gather(*loops)
    await _release(holder, thread)


async def _advance_sign_ins(stop: asyncio.Event) -> None:
    """In a thread of its own: it waits for the sign-in service, and no other job waits with it."""
    thread = DatabaseThread("sign-ins")
    try:
        await thread.run(sign_in.advance_all, is_stopped=stop.is_set)
    finally:
        await asyncio.to_thread(thread.close)


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> None:
    """Of what asks hosts that may be silent: a stop does not wait for them."""
    working, stopped = spawn(work, name="work"), spawn(stop.wait(), name="stop")
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        if not working.done():
            working.cancel()
    if not working.cancelled() and working.done():
        working.result()


async def _run_on(
    job: Job, holder: UUID, thread: DatabaseThread, stop: asyncio.Event, clock: Clock, after_s: float
) -> None:
    goes_on = await _pause(stop, after_s)
    while goes_on:
        await run_once(job, holder, thread, clock)
        goes_on = await _pause(stop, job.every_s)


async def _release(holder: UUID, thread: DatabaseThread) -> None:
    try:
        await thread.run(leases.release_all, holder)
    except DatabaseError:
        # They end by themselves; what has to be written at a stop must not wait for them.
        logger.warning("the leases of jobs were not given back", exc_info=True)


async def _pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, but not beyond `stop`; whether to go on."""
    if stop.is_set():
        return False
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return True
    return False


async def run_once(job: Job, holder: UUID, thread: DatabaseThread, clock: Clock) -> bool:
    """Run the job if this process has, or gets, its lease; whether it did. A failure is noted, not raised."""
    try:
        if not await thread.run(leases.acquire, _lease(job), holder=holder, ttl_s=job.lease_s, now=clock()):
            return False
        await thread.run(_note, job.name, started_at=clock(), ended_at=None, error="")
        keeper = spawn(_keep_lease(job, holder, thread, clock), name=f"lease of {job.name}")
        try:
            error = await _failure_of(job)
        finally:
            keeper.cancel()
        await thread.run(_note, job.name, ended_at=clock(), error=error)
    except DatabaseError:
        logger.warning("job %s: the database cannot be used now", job.name, exc_info=True)
        return False
    return True


async def _keep_lease(job: Job, holder: UUID, thread: DatabaseThread, clock: Clock) -> None:
    """A run may outlast its lease; nobody else may begin while it goes on."""
    while True:
        await asyncio.sleep(job.lease_s / 3)
        try:
            await thread.run(leases.acquire, _lease(job), holder=holder, ttl_s=job.lease_s, now=clock())
        except DatabaseError:
            logger.warning("the lease of job %s was not prolonged", job.name, exc_info=True)


async def _failure_of(job: Job) -> str:
    try:
        await job.run()
    except Exception as failure:  # noqa: BLE001 - the outer edge: one failing job must not end the others
        logger.exception("job %s failed", job.name)
        return _storable(f"{type(failure).__name__}: {failure}")
    return ""


def _storable(text: str) -> str:
    # A failure must not fail to be noted: PostgreSQL refuses NUL, nothing encodes half a surrogate pair.
    return text.encode("utf-8", "replace").decode().replace("\x00", "")[:ERROR_LENGTH]


def _lease(job: Job) -> str:
    return f"job:{job.name}"


def _note(name: str, **values: object) -> None:
    if not JobRun.objects.filter(pk=name).update(**values):
        JobRun.objects.create(name=name, **{"started_at": timezone.now(), **values})
