"""One process runs a job, one failing job does not end the others, and a stop waits for what runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from pytest_django import Settings

from accounts import leases
from accounts.models import JobRun, Lease
from accounts.notices.events import Kind
from accounts.notices.models import Notice
from codexproxy import background
from codexproxy.background import Job, jobs, run_jobs, run_once
from codexproxy.db import DatabaseThread
from requestlogs.models import RequestRecord
from tests.builders import NOW, make_account
from tests.conftest import ROOT
from usage.models import WindowSample

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BOB = uuid4(), uuid4()


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> datetime:
        return self.moment


class Counted:
    """A job's work: counts its runs and does what it is told."""

    def __init__(self, then: Callable[[], Awaitable[None]] | None = None) -> None:
        self.runs = 0
        self._then = then

    async def __call__(self) -> None:
        self.runs += 1
        if self._then is not None:
            await self._then()


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread("test")
    yield thread
    thread.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def no_stagger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STAGGER_S", 0.0)


def job(work: Callable[[], Awaitable[object]], name: str = "work", every_s: float = 0.0) -> Job:
    return Job(name, every_s, work)


def once(
    work: Counted, thread: DatabaseThread, clock: Clock, holder: Any = ANN, every_s: float = 0.0
) -> bool:
    return asyncio.run(run_once(job(work, every_s=every_s), holder, thread, clock))


def test_a_run_is_noted(thread: DatabaseThread, clock: Clock) -> None:
    async def takes_a_while() -> None:
        clock.moment += timedelta(seconds=5)

    assert once(Counted(takes_a_while), thread, clock)
    run = JobRun.objects.get()
    assert (run.name, run.started_at, run.ended_at, run.error) == (
        "work",
        NOW,
        NOW + timedelta(seconds=5),
        "",
    )


def test_a_failure_is_logged_and_noted_and_the_next_run_clears_it(
    thread: DatabaseThread, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("it bro\x00ke" + "!" * 5000)

    assert once(Counted(fail), thread, clock)
    run = JobRun.objects.get()
    assert run.error.startswith("RuntimeError: it broke!!!")
    assert len(run.error) == 2000
    assert run.ended_at == NOW
    (entry,) = (entry for entry in caplog.records if entry.name == "codexproxy.background")
    assert entry.exc_info is not None
    once(Counted(), thread, clock)
    assert JobRun.objects.get().error == ""


def test_only_the_holder_of_the_lease_runs(thread: DatabaseThread, clock: Clock) -> None:
    work = Counted()
    assert once(work, thread, clock, ANN)
    assert not once(work, thread, clock, BOB)
    assert once(work, thread, clock, ANN)
    assert work.runs == 2


@pytest.mark.parametrize(("every_s", "lease_s"), [(1, 60), (60, 120), (3600, 7200)])
def test_a_lease_that_has_ended_is_taken_over(
    thread: DatabaseThread, clock: Clock, every_s: float, lease_s: float
) -> None:
    work = Counted()
    once(work, thread, clock, ANN, every_s)
    clock.moment = NOW + timedelta(seconds=lease_s - 1)
    assert not once(work, thread, clock, BOB, every_s)
    clock.moment = NOW + timedelta(seconds=lease_s)
    assert once(work, thread, clock, BOB, every_s)
    assert not once(work, thread, clock, ANN, every_s)


def test_a_run_that_outlasts_its_lease_keeps_it(
    thread: DatabaseThread, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SHORTEST_LEASE_S", 0.03)

    async def until_prolonged() -> None:
        clock.moment += timedelta(seconds=30)
        async with asyncio.timeout(10):
            while not await thread.run(Lease.objects.filter(expires_at__gt=clock.moment).exists):
                await asyncio.sleep(0)
        assert not await thread.run(leases.acquire, "job:work", holder=BOB, ttl_s=1, now=clock.moment)

    assert once(Counted(until_prolonged), thread, clock)
    assert JobRun.objects.get().error == ""


def test_a_database_that_is_away_is_no_reason_to_end(
    thread: DatabaseThread, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **kwargs: object) -> bool:
        raise OperationalError("database is locked")

    work = Counted()
    with monkeypatch.context() as patched:
        patched.setattr(leases, "acquire", away)
        assert not once(work, thread, clock)
    assert once(work, thread, clock)
    assert work.runs == 1


def test_jobs_run_again_and_again_and_one_that_fails_does_not_end_the_others(
    thread: DatabaseThread, clock: Clock
) -> None:
    async def run() -> tuple[int, int]:
        stop = asyncio.Event()

        async def fail() -> None:
            raise RuntimeError("broken")

        async def enough() -> None:
            if good.runs >= 3 and bad.runs >= 3:
                stop.set()

        good, bad = Counted(enough), Counted(fail)
        async with asyncio.timeout(10):
            await run_jobs([job(bad, "bad"), job(good, "good")], thread, stop, clock)
        return good.runs, bad.runs

    assert min(asyncio.run(run())) >= 3
    assert not Lease.objects.exists()
    assert JobRun.objects.get(name="bad").error == "RuntimeError: broken"


def test_a_stop_waits_for_the_job_that_runs(thread: DatabaseThread, clock: Clock) -> None:
    async def run() -> list[str]:
        stop, told = asyncio.Event(), []

        async def slow() -> None:
            told.append("begun")
            stop.set()
            for _ in range(5):
                await asyncio.sleep(0)
            told.append("ended")

        await run_jobs([job(slow, every_s=3600)], thread, stop, clock)
        return told

    assert asyncio.run(run()) == ["begun", "ended"]
    assert JobRun.objects.get().ended_at is not None


def test_after_a_stop_nothing_begins(thread: DatabaseThread, clock: Clock) -> None:
    async def run() -> int:
        stop, work = asyncio.Event(), Counted()
        stop.set()
        await run_jobs([job(work)], thread, stop, clock)
        return work.runs

    assert asyncio.run(run()) == 0


def test_a_stop_does_not_fail_when_a_lease_cannot_be_given_back(
    thread: DatabaseThread, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(leases, "release_all", away)

    async def run() -> None:
        stop = asyncio.Event()

        async def end() -> None:
            stop.set()

        await run_jobs([job(Counted(end))], thread, stop, clock)

    asyncio.run(run())
    assert JobRun.objects.get().error == ""


def test_the_jobs_of_a_process_begin_one_after_the_other(
    thread: DatabaseThread, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def pause(stop: asyncio.Event, seconds: float) -> bool:
        pauses.append(seconds)
        return False

    monkeypatch.setattr(background, "STAGGER_S", 10.0)
    monkeypatch.setattr(background, "_pause", pause)
    found = [job(Counted(), name) for name in ("a", "b", "c")]
    asyncio.run(run_jobs(found, thread, asyncio.Event(), clock))
    assert pauses[0] == 0
    assert 5 <= pauses[1] <= 10 <= pauses[2] <= 20


class Running:
    """What the jobs need of the process."""

    client = None
    refresher = None


def found(thread: DatabaseThread) -> dict[str, Job]:
    running: Any = Running()
    return {each.name: each for each in jobs(running, thread, asyncio.Event())}


@pytest.mark.parametrize(("interval_s", "has_usage"), [(60, True), (0, False)])
def test_usage_is_refreshed_at_its_interval_or_not_at_all(
    thread: DatabaseThread, settings: Settings, interval_s: int, has_usage: bool
) -> None:
    settings.USAGE_REFRESH_INTERVAL_S = interval_s
    names = {name: each.every_s for name, each in found(thread).items()}
    expected = {
        "refresh tokens before they expire": 60.0,
        "give back what ended processes held of limits": 60.0,
        "sign-ins that wait": 15.0,
        "look for what to tell": 15.0,
        "send notices": 10.0,
        "retention": 3600.0,
    }
    assert names == (expected | {"refresh usage": 60} if has_usage else expected)


def test_a_stop_does_not_wait_for_a_receiver_of_notices_that_is_silent(
    thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    async def silent(*_: object) -> None:
        begun.append(True)
        await asyncio.sleep(60)

    async def run() -> None:
        stop = asyncio.Event()
        running: Any = Running()
        (sending,) = (each for each in jobs(running, thread, stop) if each.name == "send notices")
        asyncio.get_running_loop().call_later(0.05, stop.set)
        await sending.run()

    monkeypatch.setattr(background, "deliver", silent)
    began_at = time.monotonic()
    asyncio.run(run())
    assert begun
    assert time.monotonic() - began_at < 10


def test_silence_of_the_sign_in_service_keeps_no_other_job_waiting(
    thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asking, may_end = threading.Event(), threading.Event()

    def silent(**_: object) -> int:
        is_asking.set()
        may_end.wait(60)
        return 0

    async def run() -> None:
        running: Any = Running()
        (advancing,) = (
            each for each in jobs(running, thread, asyncio.Event()) if each.name == "sign-ins that wait"
        )
        job_run = asyncio.ensure_future(run_once(advancing, ANN, thread, Clock()))
        assert await asyncio.to_thread(is_asking.wait, 60)
        try:
            async with asyncio.timeout(30):
                await thread.run(JobRun.objects.count)
        finally:
            may_end.set()
        assert await job_run

    monkeypatch.setattr(background.sign_in, "advance_all", silent)
    asyncio.run(run())


def test_a_failure_to_send_notices_is_noted(thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(background, "deliver", fail)
    asyncio.run(run_once(found(thread)["send notices"], ANN, thread, Clock()))
    assert JobRun.objects.get().error == "RuntimeError: it broke"


def test_retention_deletes_what_is_older_than_the_settings_say(thread: DatabaseThread) -> None:
    account = make_account()
    for days in (0, 4000):
        at = datetime.now(UTC) - timedelta(days=days)
        RequestRecord.objects.create(request_id=str(days), requested_at=at, status="success")
        WindowSample.objects.create(account=account, window="primary", used_percent=days, recorded_at=at)
        Notice.objects.create(kind=Kind.POOL_LOW, title=str(days), at=at)
    asyncio.run(run_once(found(thread)["retention"], ANN, thread, Clock()))
    assert JobRun.objects.get().error == ""
    assert RequestRecord.objects.get().request_id == "0"
    assert WindowSample.objects.get().used_percent == 0
    assert Notice.objects.get().title == "0"


def test_the_command_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "codexproxy.settings",
        "CODEXPROXY_DATA_DIR": str(tmp_path),
        "CODEXPROXY_DATABASE_URL": f"sqlite:///{tmp_path}/jobs.sqlite3",
        "CODEXPROXY_UPSTREAM_BASE_URL": "http://127.0.0.1:9/backend-api",
        "CODEXPROXY_AUTH_BASE_URL": "http://127.0.0.1:9",
    }
    manage = [sys.executable, str(ROOT / "manage.py")]
    subprocess.run([*manage, "migrate", "-v0"], env=environment, check=True, timeout=60)
    # SIGTERM before the handler is there would end it in another way: its first note tells that it is.
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([*manage, "background"], env=environment, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 30
            while not _has_run(tmp_path) and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
            assert _has_run(tmp_path), log.read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def _has_run(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "jobs.sqlite3")) as database:
        rows = database.execute("SELECT name FROM accounts_jobrun WHERE ended_at IS NOT NULL").fetchall()
    return ("retention",) in rows
