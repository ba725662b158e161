"""What was learned is written in order, waits for a database that is away, and is lost only with a word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DataError, OperationalError

from proxy import limits
from proxy.ledger import DatabaseLedger
from proxy.pool import Member
from tests.proxy.fakes import NOW, DataPlane, view
from usage.windows import Sample, WindowReading

pytestmark = pytest.mark.asyncio


class Thread:
    """Runs nothing: it notes which service would have written, and fails as it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.written: list[str] = []
        self.failures = list(failures)

    async def run(self, function: Any) -> int | None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.written.append(function.func.__name__)
        return 7


class Clock:
    """Its sleep takes no time, and tells how long it was asked to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def made(*failures: Exception) -> tuple[DatabaseLedger, Thread, Member]:
    plane, clock, thread = DataPlane(view("a")), Clock(), Thread(*failures)
    ledger = DatabaseLedger(thread, clock=clock, sleep=clock.sleep)  # type: ignore[arg-type]
    ledger.attach(plane.pool)
    member = plane.pool.member("a")
    assert member is not None
    return ledger, thread, member


def reading(used: float) -> Sample:
    return Sample((WindowReading("primary", used, NOW + 600, 300),), NOW, "headers", None, None)


async def test_a_change_of_state_comes_after_what_was_learned_before() -> None:
    ledger, thread, member = made()
    ledger.sample("a", reading(10))
    ledger.deactivate("a", "closed")
    assert member.writes_pending == 2
    await ledger.stop()
    assert thread.written == ["sample_store", "account_deactivate"]
    assert (member.writes_pending, member.known_from_version, ledger.is_written) == (0, 7, True)


async def test_of_the_same_news_only_the_newest_waits() -> None:
    ledger, thread, member = made()
    for used in range(50):
        ledger.sample("a", reading(used))
    assert (ledger.pending, member.writes_pending) == (1, 1)
    await ledger.stop()
    assert thread.written == ["sample_store"]


async def test_a_database_that_is_away_for_a_while_loses_nothing() -> None:
    ledger, thread, member = made(OperationalError("locked"), OperationalError("locked"))
    ledger.deactivate("a", "closed")
    await ledger.stop()
    assert thread.written == ["account_deactivate"]
    assert (member.writes_pending, ledger.is_written) == (0, True)


async def test_a_stop_gives_up_on_a_database_that_stays_away_and_says_so() -> None:
    tries = int(limits.LEDGER_STOP_S / limits.LEDGER_PAUSE_S) + 5
    ledger, thread, member = made(*(OperationalError("locked") for _ in range(tries)))
    ledger.deactivate("a", "closed")
    await ledger.stop()
    assert (thread.written, member.writes_pending, ledger.is_written) == ([], 0, False)


@pytest.mark.parametrize("learn", [lambda ledger: ledger.sample("a", reading(10))])
async def test_what_the_database_refuses_takes_nothing_else_with_it(
    learn: Callable[[DatabaseLedger], None],
) -> None:
    ledger, thread, member = made(DataError("no"))
    learn(ledger)
    ledger.deactivate("a", "closed")
    await ledger.stop()
    assert thread.written == ["account_deactivate"]
    assert (member.writes_pending, ledger.is_written) == (0, True)
